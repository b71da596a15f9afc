//! Negotiation of the response's media type by `Accept` (406).

use std::sync::Arc;

use http::{HeaderValue, header};
use smallvec::SmallVec;

use super::{Policy, Stop};
use crate::{
    Admission, Denial, Head,
    media::{self, InvalidMedia, MediaType},
};

/// Chooses the media type of the response by the request's `Accept` (RFC 9110, section 12.5.1).
///
/// The offer with the highest weight wins, and the earlier one of equal offers; without an `Accept` header the
/// first offer wins. The choice is [`Admission::media_type`]. If no offer is acceptable, the response is 406 with a
/// list of the offers. Every response, whatever its status, has `Vary: accept`.
///
/// ```
/// use portcullis::policy::Accept;
///
/// let policy = Accept::new(["application/json", "text/csv"]).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Accept {
    offers: Arc<[MediaType]>,
}

impl Accept {
    /// Creates a policy that offers these media types, the preferred first.
    ///
    /// # Errors
    /// [`InvalidMedia`] for the first text that is no media type.
    pub fn new<'a>(offers: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidMedia> {
        Ok(Self { offers: offers.into_iter().map(str::parse).collect::<Result<_, _>>()? })
    }

    fn choose(&self, head: &Head<'_>) -> Option<usize> {
        if let Ok(line) = head.single(&header::ACCEPT) {
            return media::negotiate(line.map(text).into_iter(), &self.offers);
        }
        let lines: SmallVec<[&str; 4]> = head.headers.get_all(header::ACCEPT).iter().map(text).collect();
        media::negotiate(lines.iter().copied(), &self.offers)
    }
}

/// Returns the value as text. A value that is no text lists no media types.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

impl Policy for Accept {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        admission.response.varies = true;
        match self.choose(head) {
            Some(chosen) => {
                admission.offers = Some((self.offers.clone(), chosen));
                Ok(())
            }
            None => Err(Denial::NotAcceptable { available: self.offers.clone() }.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        problem::{Problem, render},
        test_support::{Fixture, request},
    };

    #[test]
    fn accept_truth_table() {
        let world = Fixture::new();
        let policy = Accept::new(["application/json", "text/csv"]).unwrap();
        let rows: [(&[(&str, &str)], Option<&str>); 9] = [
            (&[], Some("application/json")),
            (&[("accept", "*/*")], Some("application/json")),
            (&[("accept", "text/*")], Some("text/csv")),
            (&[("accept", "text/csv, application/json;q=0.9")], Some("text/csv")),
            (&[("accept", "application/json;q=0, */*")], Some("text/csv")),
            (&[("accept", "image/png"), ("accept", "text/csv;q=0.1")], Some("text/csv")),
            (&[("accept", "text/html, *; q=.2, */*; q=.2")], Some("application/json")),
            (&[("accept", "image/png")], None),
            (&[("accept", "application/json;q=0")], None),
        ];
        for (fields, expected) in rows {
            let chosen = world.ask(&policy, &request("GET", "/", fields));
            let chosen = chosen.as_ref().ok().and_then(Admission::media_type).map(MediaType::as_str);
            assert_eq!(chosen, expected, "{fields:?}");
        }
    }

    #[test]
    fn denial_lists_the_offers_and_varies() {
        let world = Fixture::new();
        let policy = Accept::new(["application/json", "text/csv"]).unwrap();
        let (denial, admission) = world.deny(&policy, &request("GET", "/", &[("accept", "image/png")]));
        let response = render(&denial, &Problem, &admission);
        assert_eq!(
            (response.status().as_u16(), &response.headers()["vary"]),
            (406, &"accept".parse().unwrap())
        );
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["available"], serde_json::json!(["application/json", "text/csv"]));
    }
}
