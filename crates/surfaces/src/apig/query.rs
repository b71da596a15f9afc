//! Query parameters of lists.

use serde::Deserialize;
use utoipa::IntoParams;

use super::{call_context::CallContext, error::ApigError, version::Version};
use crate::openapi::schemas;
use portcullis::{
    model::{CallerKind, Creator, Status, TenantId},
    registry::{CallerFilter, Order},
};

/// The default page size.
const PAGE: u32 = 20;
/// The maximum page size.
const LARGEST: u32 = 500;
/// The maximum length of a search text, in characters.
const MAX_TEXT_LEN: usize = 256;

/// The page of a list: by number in V1, by offset in V2.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// V1: the number of the page, starting at 1.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 18_446_744_073_709_551_615u64)]
    page_no: Option<String>,
    /// V1: the page size, 1 to 500. Default: 20.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 500)]
    page_size: Option<String>,
    /// V2: the number of items to skip. A negative value counts as 0.
    #[param(value_type = i64, required = false)]
    offset: Option<String>,
    /// V2: the page size. A value of 0 or less counts as 20, a value above 500 as 500.
    #[param(value_type = i64, required = false)]
    limit: Option<String>,
}

/// The filters of a list of apps.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AppsQuery {
    /// Only the app with this id.
    #[param(value_type = schemas::MaybeId, required = false)]
    id: Option<String>,
    /// Only apps with this text in their name, or with exactly this name if `precise_search` is `name`.
    #[param(value_type = schemas::Text, required = false)]
    name: Option<String>,
    /// Only apps with this status: 1 enabled, 2 disabled, 3 deleted.
    #[param(value_type = i32, required = false, minimum = 1, maximum = 3)]
    status: Option<String>,
    /// Only the app with this AppKey.
    #[param(value_type = schemas::Text, required = false)]
    app_key: Option<String>,
    /// Only apps with this creator: `USER` or `MARKET`.
    #[param(value_type = String, required = false, pattern = "^(USER|MARKET)?$")]
    creator: Option<String>,
    /// `name` requires `name` to match exactly.
    #[param(value_type = String, required = false, pattern = "^(name)?$")]
    precise_search: Option<String>,
}

/// Returns `true` if a text may be searched for: at most 256 characters, none of them a control character.
pub(super) fn is_searchable(text: &str) -> bool {
    text.chars().count() <= MAX_TEXT_LEN && !text.chars().any(char::is_control)
}

impl PageQuery {
    /// Returns the number of items to skip, and the maximum number of items to return.
    pub(super) fn page(&self, version: Version) -> Result<(u64, u32), ApigError> {
        match version {
            Version::One => {
                let size =
                    integer_between(self.page_size.as_deref(), PAGE.into(), LARGEST.into(), "page_size")?;
                let number = integer_between(self.page_no.as_deref(), 1, u64::MAX, "page_no")?;
                let size = u32::try_from(size).unwrap_or(LARGEST);
                Ok(((number - 1).saturating_mul(size.into()), size))
            }
            Version::Two => {
                let offset = number(self.offset.as_deref(), "offset")?.unwrap_or(0);
                let limit = number(self.limit.as_deref(), "limit")?.filter(|limit| *limit > 0);
                let limit = limit.and_then(|limit| u32::try_from(limit).ok().or(Some(LARGEST)));
                Ok((u64::try_from(offset).unwrap_or(0), limit.unwrap_or(PAGE).min(LARGEST)))
            }
        }
    }
}

/// Returns `true` if a name contains a text, ignoring ASCII case.
pub(super) fn contains(name: &str, text: &str) -> bool {
    name.to_ascii_lowercase().contains(&text.to_ascii_lowercase())
}

/// Returns a page of a list that is in memory as a whole.
pub(super) fn page_of<T>(all: &[T], (offset, limit): (u64, u32)) -> &[T] {
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(all.len());
    let behind = &all[from..];
    &behind[..behind.len().min(limit as usize)]
}

/// Parses a number from 1 to `most`.
fn integer_between(
    text: Option<&str>,
    default: u64,
    most: u64,
    name: &'static str,
) -> Result<u64, ApigError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(default) };
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or(ApigError::NotSupported(name))
}

fn number(text: Option<&str>, name: &'static str) -> Result<Option<i64>, ApigError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| ApigError::NotSupported(name))
}

impl AppsQuery {
    /// Returns the filter for the apps; `None` if no app can match.
    pub(super) fn callers(
        self,
        call: &CallContext,
        tenant: &TenantId,
    ) -> Result<Option<CallerFilter>, ApigError> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let plain = |text: &String| is_searchable(text);
        let precise = match given(self.precise_search).as_deref() {
            None => false,
            Some("name") => true,
            Some(_) => return Err(ApigError::NotSupported("precise_search")),
        };
        let name = given(self.name);
        if !name.as_ref().is_none_or(plain) {
            return Err(ApigError::NotSupported("name"));
        }
        let app_key = given(self.app_key);
        if !app_key.as_ref().is_none_or(plain) {
            return Err(ApigError::NotSupported("app_key"));
        }
        let status = match given(self.status).as_deref() {
            None => None,
            Some("1") => Some(Status::Enabled),
            Some("2") => Some(Status::Disabled),
            // Deleted apps are not stored.
            Some("3") => return Ok(None),
            Some(_) => return Err(ApigError::NotSupported("status")),
        };
        let creator = match given(self.creator).as_deref() {
            None => None,
            Some("USER") => Some(Creator::User),
            Some("MARKET") => Some(Creator::Market),
            Some(_) => return Err(ApigError::NotSupported("creator")),
        };
        let mut among = call.visible_apps();
        if let Some(id) = given(self.id) {
            let id = call.parse_id(&id).ok_or(ApigError::NotSupported("id"))?;
            let sees = among.is_none_or(|among| among.contains(&id));
            among = Some(if sees { vec![id] } else { Vec::new() });
        }
        let (name, contains) = if precise { (name, None) } else { (None, name) };
        Ok(Some(CallerFilter {
            name,
            contains,
            status,
            app_key,
            creator,
            among,
            order: Order::Newest,
            ..apps(tenant)
        }))
    }
}

/// Returns the filter for all apps of a gateway.
pub(super) fn apps(tenant: &TenantId) -> CallerFilter {
    CallerFilter { tenant: Some(tenant.clone()), kind: Some(CallerKind::APP), ..CallerFilter::default() }
}

#[cfg(test)]
mod tests {
    use axum::extract::Query;

    use super::*;

    fn page(query: &str, version: Version) -> Option<(u64, u32)> {
        let uri = format!("/?{query}").parse().unwrap();
        Query::<PageQuery>::try_from_uri(&uri).ok()?.0.page(version).ok()
    }

    #[test]
    fn v1_counts_pages_and_rejects_invalid_numbers() {
        for (query, expected) in [
            ("", Some((0, 20))),
            ("page_no=&page_size=", Some((0, 20))),
            ("page_no=3", Some((40, 20))),
            ("page_no=2&page_size=500&offset=x", Some((500, 500))),
            ("page_no=18446744073709551615&page_size=500", Some((u64::MAX, 500))),
            ("page_size=501", None),
            ("page_size=0", None),
            ("page_no=0", None),
            ("page_no=-1", None),
            ("page_no=1.5", None),
            ("page_no=18446744073709551616", None),
            ("page_no=1&page_no=2", None),
        ] {
            assert_eq!(page(query, Version::One), expected, "{query}");
        }
    }

    #[test]
    fn v2_clamps_numbers_to_their_range() {
        for (query, expected) in [
            ("", Some((0, 20))),
            ("offset=7&limit=8&page_no=x", Some((7, 8))),
            ("offset=-1&limit=0", Some((0, 20))),
            ("limit=-5", Some((0, 20))),
            ("limit=501", Some((0, 500))),
            ("limit=9223372036854775807&offset=9223372036854775807", Some((i64::MAX as u64, 500))),
            ("limit=9223372036854775808", None),
            ("limit=ten", None),
            ("offset=1&offset=1", None),
        ] {
            assert_eq!(page(query, Version::Two), expected, "{query}");
        }
    }
}
