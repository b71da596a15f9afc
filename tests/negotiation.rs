//! Responses of a route to `Accept` and `Content-Type`, checked with cases on which RFC 9110 and
//! widely used libraries agree (`data/negotiation.json`), and against arbitrary input.

use std::iter;

use portcullis::media::{ContentTypeHeader, MediaRange, MediaType, Weight, negotiate, quality};
use proptest::prelude::*;
use serde_json::Value;

fn data() -> Value {
    serde_json::from_str(include_str!("data/negotiation.json")).unwrap()
}

fn cases(data: &Value, kind: &str) -> Vec<Value> {
    let cases = data["cases"].as_array().unwrap().iter();
    cases.filter(|case| case["kind"] == kind).cloned().collect()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

fn offers(case: &Value) -> Vec<MediaType> {
    strings(&case["available"]).into_iter().map(|text| text.parse().unwrap()).collect()
}

/// A weight of the data, a number from 0 to 1, in thousandths.
fn thousandths(weight: &Value) -> u16 {
    let weight = weight.as_f64().unwrap();
    (0..=1000).find(|n| (f64::from(*n) / 1000.0 - weight).abs() < 1e-9).unwrap()
}

/// A type as the `type-is` library lets its users write it, as a range.
fn range(expected_type: &str) -> MediaRange {
    let text = match expected_type {
        "json" => "application/json",
        "urlencoded" => "application/x-www-form-urlencoded",
        "multipart" => "multipart/*",
        "+json" => "*/*+json",
        "+xml" => "*/*+xml",
        other => other,
    };
    text.parse().unwrap()
}

#[test]
fn every_case_selects_one_of_the_best_offers() {
    let data = data();
    let cases = cases(&data, "media-type");
    assert_eq!(cases.len(), 427);
    for case in cases {
        let offers = offers(&case);
        let picked =
            negotiate(case["header"].as_str().into_iter(), &offers).map(|index| offers[index].as_str());
        let best = strings(&case["rfc"]["best"]);
        match picked {
            Some(picked) => assert!(best.contains(&picked), "picked {picked}: {case}"),
            None => assert!(best.is_empty(), "picked none: {case}"),
        }
    }
}

#[test]
fn every_case_weighs_each_offer_like_the_rfc() {
    let data = data();
    for case in cases(&data, "media-type") {
        for offer in offers(&case) {
            let expected = thousandths(&case["rfc"]["q"][offer.as_str()]);
            match case["header"].as_str() {
                Some(accept) => {
                    assert_eq!(quality(accept, &offer).thousandths(), expected, "{offer}: {case}");
                }
                None => assert_eq!((negotiate(iter::empty(), &[offer]), expected), (Some(0), 1000), "{case}"),
            }
        }
    }
}

#[test]
fn every_example_of_the_rfc_has_its_weight() {
    let data = data();
    let facts = data["rfc_facts"].as_array().unwrap();
    assert_eq!(facts.len(), 12);
    for fact in facts {
        let accept = fact["header"].as_str().unwrap();
        for offer in offers(fact) {
            let expected = thousandths(&fact["expected"]["quality"]);
            assert_eq!(quality(accept, &offer).thousandths(), expected, "{fact}");
        }
    }
}

#[test]
fn every_content_type_case_is_accepted_or_rejected() {
    let data = data();
    let cases = cases(&data, "content-type");
    assert_eq!(cases.len(), 233);
    for case in cases {
        let content_type = ContentTypeHeader::parse(case["content_type"].as_str().unwrap());
        let ranges = strings(&case["expected_types"]).into_iter().map(range);
        let accepted = content_type.is_ok_and(|sent| ranges.into_iter().any(|range| range.matches(&sent)));
        assert_eq!(Some(accepted), case["expected"]["accepted"].as_bool(), "{case}");
    }
}

/// Text made of what the parsers look at, so that it often comes close to being valid.
fn near_header() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "a/b",
        "A/B",
        "a/*",
        "*/*",
        "*",
        "c/d",
        "c/d+json",
        ",",
        ", ",
        ";",
        ";;",
        " ",
        "\t",
        "q=",
        "q=0",
        "q=.5",
        "q=0.7",
        "1",
        "x=1",
        "x=\"1\"",
        "charset=utf-8",
        "charset=\"UTF-8\"",
        "\"",
        "\\",
        "\\\"",
        "=",
        "/",
        "é",
    ]);
    prop::collection::vec(parts, 0..24).prop_map(|parts| parts.concat())
}

fn some_offers() -> Vec<MediaType> {
    ["a/b;x=1;charset=utf-8", "a/b;x=1", "c/d+json", "a/b", "c/d"].map(|text| text.parse().unwrap()).to_vec()
}

proptest! {
    #[test]
    fn parsers_never_panic(text in prop_oneof![any::<String>(), near_header()]) {
        for offer in some_offers() {
            prop_assert!(quality(&text, &offer) <= Weight::ONE);
        }
        if let Ok(sent) = ContentTypeHeader::parse(&text) {
            prop_assert!(range("*/*").matches(&sent));
        }
        let _ = text.parse::<MediaType>();
        let _ = text.parse::<MediaRange>();
    }

    #[test]
    fn selection_is_the_first_of_the_highest_weights(accept in near_header()) {
        let offers = some_offers();
        let weights: Vec<Weight> = offers.iter().map(|offer| quality(&accept, offer)).collect();
        let highest = weights.iter().copied().max().filter(|weight| *weight > Weight::ZERO);
        let first = highest.and_then(|highest| weights.iter().position(|weight| *weight == highest));
        prop_assert_eq!(negotiate(iter::once(accept.as_str()), &offers), first);
    }

    #[test]
    fn list_over_two_lines_equals_the_list_in_one(first in near_header(), second in near_header()) {
        // An open quote swallows the rest of its line, so only a line without quotes can be joined.
        let first = first.replace('"', "");
        let offers = some_offers();
        let joined = format!("{first},{second}");
        let split = negotiate([first.as_str(), &second].into_iter(), &offers);
        prop_assert_eq!(split, negotiate(iter::once(joined.as_str()), &offers));
    }

    #[test]
    fn parsed_media_type_accepts_its_own_text(text in near_header()) {
        if let Ok(media) = text.parse::<MediaType>() {
            prop_assert!(range(media.as_str()).matches(&ContentTypeHeader::parse(media.as_str()).unwrap()));
            prop_assert_eq!(quality(media.as_str(), &media), Weight::ONE);
        }
    }
}
