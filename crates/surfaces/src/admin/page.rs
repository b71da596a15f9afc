//! Query parameters and pages of lists.

use std::{fmt::Write, str::FromStr};

use http::Uri;
use serde::Serialize;

use crate::json::present_name;
use portcullis::Denial;

/// Number of resources on a page: the default and the maximum.
const LIMITS: (u32, u32) = (100, 500);

/// The query parameters of a request. Each one is known and appears at most once.
#[derive(Debug)]
pub(super) struct Query {
    path: String,
    parameters: Vec<(String, String)>,
}

impl Query {
    /// Parses the query of a URI.
    ///
    /// # Errors
    /// 400 that names the unknown, renamed or repeated parameter.
    pub(super) fn new(uri: &Uri, known: &[&str]) -> Result<Self, Denial> {
        let parameters = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
        let Ok(axum::extract::Query(parameters)) = parameters else {
            return Err(Denial::bad_request("The query cannot be parsed."));
        };
        for (at, (name, _)) in parameters.iter().enumerate() {
            let shown = || name.chars().take(64).collect::<String>();
            if !known.contains(&&**name) {
                if let Some(present) = present_name(name, known) {
                    let detail = format!("The parameter {name} has been renamed to {present}.");
                    return Err(Denial::bad_request(detail));
                }
                let names = if known.is_empty() { "none".into() } else { known.join(", ") };
                let detail = format!("The parameter {:?} is unknown; known parameters: {names}.", shown());
                return Err(Denial::bad_request(detail));
            }
            if parameters[..at].iter().any(|(other, _)| other == name) {
                return Err(Denial::bad_request(format!("The parameter {name} is repeated.")));
            }
        }
        Ok(Self { path: uri.path().to_owned(), parameters })
    }

    /// Returns the value of a parameter.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
    }

    /// Parses the value of a parameter; `what` describes valid values for people.
    ///
    /// # Errors
    /// 400 for an invalid value.
    pub(super) fn parsed<T: FromStr>(&self, name: &str, what: &str) -> Result<Option<T>, Denial> {
        self.chosen(name, what, |text| text.parse().ok())
    }

    /// Converts the value of a parameter; `what` describes valid values for people.
    ///
    /// # Errors
    /// 400 if `choose` returns `None`.
    pub(super) fn chosen<T>(
        &self,
        name: &str,
        what: &str,
        choose: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Denial> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong = || Denial::bad_request(format!("The parameter {name} must be {what}."));
        choose(text).map(Some).ok_or_else(wrong)
    }

    /// Returns the maximum number of resources on the page.
    pub(super) fn limit(&self) -> Result<u32, Denial> {
        let (usual, most) = LIMITS;
        let fits = |text: &str| text.parse().ok().filter(|limit| (1..=most).contains(limit));
        let limit = self.chosen("limit", &format!("a whole number from 1 to {most}"), fits)?;
        Ok(limit.unwrap_or(usual))
    }

    /// Returns the id after which the page begins.
    pub(super) fn after<I: FromStr>(&self) -> Result<Option<I>, Denial> {
        self.parsed("after", "the value of next of an earlier page")
    }

    /// Returns the value of `Link` for the next page.
    fn link(&self, next: &str) -> String {
        let mut target = self.path.clone();
        let others = self.parameters.iter().filter(|(name, _)| name != "after");
        let all = others.map(|(name, value)| (&**name, &**value)).chain([("after", next)]);
        for (at, (name, value)) in all.enumerate() {
            target.push(if at == 0 { '?' } else { '&' });
            encode(&mut target, name);
            target.push('=');
            encode(&mut target, value);
        }
        format!("<{target}>; rel=\"next\"")
    }
}

/// Percent-encodes all bytes but unreserved characters (RFC 3986, section 2.3).
fn encode(target: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            target.push(char::from(byte));
        } else {
            let _ = write!(target, "%{byte:02X}");
        }
    }
}

/// A page of resources.
#[derive(Debug, Serialize)]
pub(super) struct Page<T> {
    /// The resources, in order.
    items: Vec<T>,
    /// The value of `after` for the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// The value of `Link`, if there is a next page.
    #[serde(skip)]
    link: Option<String>,
}

impl<T> Page<T> {
    /// Returns a page; `next` is the value of `after` for the next page.
    pub(super) fn new(query: &Query, items: Vec<T>, next: Option<String>) -> Self {
        let link = next.as_deref().map(|next| query.link(next));
        Self { items, next, link }
    }

    /// Truncates a list, of which one item more than the limit was read, to a page. The next page begins after the id
    /// of the last item.
    pub(super) fn from_parts(
        query: &Query,
        limit: u32,
        mut found: Vec<T>,
        id: impl FnOnce(&T) -> String,
    ) -> Self {
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let next = found.last().filter(|_| more).map(id);
        Self::new(query, found, next)
    }

    /// Returns the resources, in order.
    pub(super) fn items(&self) -> &[T] {
        &self.items
    }

    /// Leaves out resources, but not the next page.
    pub(super) fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.items.retain(keep);
    }

    /// Converts each resource.
    pub(super) fn map<U>(self, convert: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(convert).collect(), next: self.next, link: self.link }
    }

    /// Returns the value of `Link`, if there is a next page.
    pub(super) fn link(&self) -> Option<&str> {
        self.link.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(uri: &str) -> Result<Query, String> {
        let known = ["name", "limit", "after"];
        Query::new(&uri.parse().unwrap(), &known).map_err(|denial| denial.detail().into_owned())
    }

    #[test]
    fn parameter_is_known_and_unique() {
        assert_eq!(query("/x?name=a%2Fb+c").unwrap().text("name"), Some("a/b c"));
        assert!(query("/x?nam=1").unwrap_err().contains("\"nam\""));
        assert!(query("/x?name=1&n%61me=2").unwrap_err().contains("name is repeated"));
        assert!(query("/x?").is_ok() && query("/x").is_ok());
    }

    #[test]
    fn limit_is_in_range() {
        for (uri, limit) in [("/", Some(100)), ("/?limit=1", Some(1)), ("/?limit=500", Some(500))] {
            assert_eq!(query(uri).unwrap().limit().ok(), limit, "{uri}");
        }
        for text in ["", "0", "501", "-1", "1.0", "99999999999"] {
            assert!(query(&format!("/?limit={text}")).unwrap().limit().is_err(), "{text}");
        }
    }

    #[test]
    fn link_keeps_the_query() {
        let query = query("/admin/v1/x?after=a&name=a%2Fb%26&limit=7").unwrap();
        let link = r#"</admin/v1/x?name=a%2Fb%26&limit=7&after=z.9>; rel="next""#;
        assert_eq!(query.link("z.9"), link);
    }

    #[test]
    fn extra_item_marks_a_further_page() {
        let query = query("/x").unwrap();
        let split_page = |things: Vec<u8>| {
            let page = Page::from_parts(&query, 2, things, ToString::to_string);
            (page.items, page.next)
        };
        assert_eq!(split_page(vec![1, 2, 3]), (vec![1, 2], Some("2".into())));
        assert_eq!(split_page(vec![1, 2]), (vec![1, 2], None));
        assert_eq!(split_page(vec![]), (vec![], None));
    }
}
