//! Tests of media types and of the ranges that match them.

use super::{
    parse::{is_token, is_token_byte},
    *,
};

fn media(text: &str) -> MediaType {
    text.parse().unwrap()
}

fn weight(accept: &str, offer: &str) -> u16 {
    quality(accept, &media(offer)).thousandths()
}

fn takes(range: &str, content_type: &str) -> bool {
    let content_type = ContentTypeHeader::parse(content_type).unwrap();
    range.parse::<MediaRange>().unwrap().matches(&content_type)
}

#[test]
fn accept_of_old_java_clients_is_parsed() {
    let accept = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2";
    assert_eq!(weight(accept, "application/json"), 200);
    assert_eq!(weight(accept, "image/gif"), 1000);
    assert_eq!(weight("text/html, *; q=.2", "application/json"), 200);
}

#[test]
fn malformed_element_is_skipped() {
    let malformed =
        ["q=1.5", "q=1.001", "q=0.1234", "q=", "q=.", "q=-1", "q=high", "q=+0", "q=0;q=1", "q", "a=b c"];
    for parameter in malformed {
        let accept = format!("text/html;{parameter}, text/*;q=0.3");
        assert_eq!(weight(&accept, "text/html"), 300, "{accept}");
    }
    for range in ["*/html", "text/", "/html", "text", "text/html/x", "te xt/html", "text/**", ""] {
        assert_eq!(weight(&format!("{range}, text/*;q=0.3"), "text/html"), 300, "{range}");
    }
}

#[test]
fn every_weight_of_the_grammar_is_parsed() {
    let weights =
        [("0", 0), ("0.", 0), ("0.5", 500), ("0.05", 50), ("0.999", 999), ("1.000", 1000), (".25", 250)];
    for (text, thousandths) in weights {
        assert_eq!(weight(&format!("a/b;q={text}"), "a/b"), thousandths, "{text}");
    }
}

#[test]
fn highest_weight_decides_between_equal_ranges() {
    assert_eq!(weight("a/b;q=0.2, a/b;q=0.4, a/b;q=0.3", "a/b"), 400);
}

#[test]
fn more_parameters_are_more_specific() {
    let accept = "a/b;q=0.1, a/b;x=1;y=2;q=0.3, a/b;x=1;q=0.2, a/*;x=1;y=2;z=3";
    assert_eq!(weight(accept, "a/b;y=2;x=1;z=3"), 300);
    assert_eq!(weight(accept, "a/b;x=1"), 200);
    assert_eq!(weight(accept, "a/b;x=2"), 100);
}

#[test]
fn parameters_after_the_weight_narrow_the_range() {
    assert_eq!(weight("a/b;q=0.5;x=1", "a/b"), 0);
    assert_eq!(weight("a/b;q=0.5;x=1", "a/b;x=1"), 500);
}

#[test]
fn quoted_separators_do_not_separate() {
    let offer = r#"a/b;x="1,2;\"q=0"#.to_owned() + "\"";
    assert_eq!(weight(&format!("{offer};q=0.5, c/d"), &offer), 500);
    assert_eq!(weight(r#"a/b;x="1, a/b;q=0.5"#, "a/b"), 0);
}

#[test]
fn values_are_case_sensitive_except_charsets() {
    assert_eq!(weight("a/b;X=one", "a/b;x=one"), 1000);
    assert_eq!(weight("a/b;x=ONE", "a/b;x=one"), 0);
    assert_eq!(weight(r#"a/b;charset="U\TF-8""#, "a/b;charset=utf-8"), 1000);
}

#[test]
fn several_header_lines_form_one_list() {
    let offers = [media("a/b"), media("c/d")];
    assert_eq!(negotiate(["*/*", "a/b;q=0"].into_iter(), &offers), Some(1));
    assert_eq!(negotiate(["", "c/d"].into_iter(), &offers), Some(1));
    assert_eq!(negotiate(["a/b;q=0.1", "c/d;q=0.2"].into_iter(), &offers), Some(1));
}

#[test]
fn tie_selects_the_earlier_offer() {
    let offers = [media("a/b;x=1;y=2"), media("a/b;x=1"), media("a/b")];
    for accept in ["a/b", "a/b;x=1", "A/B", "a/*", "*/*", "*"] {
        assert_eq!(negotiate([accept].into_iter(), &offers), Some(0), "{accept}");
    }
}

#[test]
fn empty_offers_are_never_acceptable() {
    assert_eq!(negotiate([].into_iter(), &[]), None);
    assert_eq!(negotiate(["*/*"].into_iter(), &[]), None);
}

#[test]
fn suffix_ranges_need_a_name_before_the_suffix() {
    assert!(takes("application/*+json", "application/problem+JSON"));
    assert!(!takes("application/*+json", "image/svg+json"));
    assert!(!takes("*/*+json", "application/+json"));
    assert!(!takes("*/*+json", "application/json+xml"));
}

#[test]
fn repeated_parameter_must_have_equal_values() {
    assert!(takes("a/b;charset=utf-8", "a/b;charset=utf-8;charset=UTF-8"));
    assert!(!takes("a/b;charset=utf-8", "a/b;charset=utf-8;charset=latin1"));
    assert!(takes("a/b", "a/b;charset=utf-8;charset=latin1"));
}

#[test]
fn content_type_is_one_media_type() {
    let invalid = [
        "",
        "*/*",
        "text/*",
        "text/html**",
        "a/b, c/d",
        "a /b",
        "a/b;x",
        "a/b;x=",
        "a/b;x=\"",
        "a/b;x=\"\\\"",
        "a/b;x=\"\0\"",
        "a/b;x = 1",
    ];
    for value in invalid {
        assert!(ContentTypeHeader::parse(value).is_err(), "{value:?}");
    }
    for value in [" a/b ", "a/b;", "a/b;;\t;", "a/b\t;x=1", r#"a/b;x="""#, r#"a/b;x="é\"";x=2"#] {
        assert!(ContentTypeHeader::parse(value).is_ok(), "{value:?}");
    }
}

#[test]
fn configured_media_types_are_validated() {
    for (text, fault) in [
        ("application/*", InvalidMedia::Wildcard),
        ("application/*+json", InvalidMedia::Wildcard),
        ("json", InvalidMedia::Shape),
        ("a/b;x", InvalidMedia::Parameter),
        ("a/b;x=\"é\"", InvalidMedia::Parameter),
        ("a/b;x=1;X=1", InvalidMedia::Repeated),
        ("a/b;q=1", InvalidMedia::Weight),
    ] {
        assert_eq!(text.parse::<MediaType>(), Err(fault), "{text}");
    }
    for text in ["*", "*/json", "a*/b", "a/*b", "a/*+", "a/*+b+c", "a/*+*", "*/*;q=1", ""] {
        assert!(text.parse::<MediaRange>().is_err(), "{text}");
    }
}

#[test]
fn token_has_the_characters_of_the_rfc() {
    for byte in 0..=127u8 {
        let expected = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        assert_eq!(is_token_byte(byte), expected, "{:?}", char::from(byte));
    }
    assert!(!is_token("\u{e9}") && !is_token(""));
}

#[test]
fn equivalent_types_are_equal() {
    assert_eq!(media("A/b; y=2 ;x=\"1\""), media("a/B;X=1;Y=2"));
    assert_ne!(media("a/b;x=1"), media("a/b;x=1;y=2"));
    assert_ne!(media("a/b;x=a"), media("a/b;x=A"));
}
