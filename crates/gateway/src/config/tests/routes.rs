//! Tests of the checks of routes: unreachable routes, and routes that leave a guarded path open.

use super::*;

const UP: &str = "upstreams.up.address = \"127.0.0.1:1\"\n";

/// Returns the findings about routes to an upstream. A route that begins with `!` needs an API key. The first route
/// begins in line 5.
fn findings_of(routes: &[&str]) -> Vec<String> {
    let route = |route: &&str| {
        let (guard, route) = match route.strip_prefix('!') {
            Some(route) => ("policies.api_key = true\n", route),
            None => ("", *route),
        };
        format!("[[routes]]\nupstream = \"up\"\n{}\n{guard}", route.replace("; ", "\n"))
    };
    findings(&format!("{HEAD}{UP}{}", routes.iter().map(route).collect::<Vec<_>>().concat()))
}

#[test]
fn routes_with_different_matches_are_reachable() {
    let found = findings_of(&[
        "path = \"/a\"",
        "path = { exact = \"/a\" }",
        "path = { pattern = \"/a/{id}\" }",
        "path = { pattern = \"/a/{id}/{name}\" }",
        "path = { pattern = \"/a/{*rest}\" }",
        "path = \"/a\"; headers = { x-a = true }",
        "path = \"/a\"; headers = { x-a = \"1\" }",
        "path = \"/a\"; query = { a = \"1\" }",
        "path = \"/a\"; host = \"a.example\"",
        "path = \"/a\"; host = \"*.example\"",
        "path = \"/a\"; host = \"*.a.example\"",
    ]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn second_route_with_the_same_match_is_rejected() {
    for (one, other) in [
        ("path = { exact = \"/a\" }", "path = { exact = \"/%61\" }"),
        ("path = { pattern = \"/a/{id}\" }", "path = { pattern = \"/a/{name}\" }"),
        ("path = { pattern = \"/a/{*rest}\" }", "path = { pattern = \"/a/{*all}\" }"),
        ("path = \"/a\"", "path = { prefix = \"/a\" }"),
        ("path = \"/a\"; host = \"*.example\"", "path = \"/a\"; host = \"*.EXAMPLE\""),
        ("path = \"/a\"; headers = { x-a = \"1\" }", "path = \"/a\"; headers = { X-A = \"1\" }"),
        (
            "path = \"/a\"; query = { a = true }; methods = [\"GET\", \"PUT\"]",
            "path = \"/a\"; query = { a = true }; methods = [\"PUT\"]",
        ),
    ] {
        let found = findings_of(&[one, other]);
        let is_error = |line: &String| line.contains("an earlier route has the same host, path");
        assert!(found.len() == 1 && found.iter().all(is_error), "{one} {other}: {found:?}");
    }
}

#[test]
fn route_that_leaves_a_guarded_path_open_is_rejected() {
    for (guarded, open, which) in [
        ("!path = \"/\"", "path = \"/\"; host = \"a.example\"", "for the host a.example"),
        ("!path = \"/a/b\"", "path = \"/a\"; host = \"*.example\"", "for the host *.example"),
        (
            "!path = \"/a\"; host = \"*.example\"",
            "path = \"/a\"; host = \"a.example\"",
            "for the host a.example",
        ),
        (
            "!path = \"/a\"; host = \"*.example\"",
            "path = \"/\"; host = \"*.a.example\"",
            "for the host *.a.example",
        ),
        ("!path = { exact = \"/a\" }", "path = \"/a\"; host = \"a.example\"", "for the host a.example"),
        (
            "!path = { pattern = \"/a/{id}\" }",
            "path = \"/a\"; host = \"a.example\"",
            "for the host a.example",
        ),
        ("!path = \"/a\"; headers = { x-a = \"1\" }", "path = \"/\"", "without the conditions"),
        ("!path = \"/a\"; query = { a = \"1\" }", "path = \"/a\"", "without the conditions"),
        ("!path = \"/a\"", "path = \"/a\"; query = { debug = true }", "with the conditions of"),
        (
            "!path = \"/a\"",
            "path = \"/a\"; methods = [\"GET\"]; headers = { x-a = true }",
            "with the conditions of",
        ),
        (
            "!path = \"/a\"; headers = { x-a = \"1\" }",
            "path = \"/a\"; headers = { x-a = \"2\" }",
            "without the conditions",
        ),
        (
            "!path = { pattern = \"/a/{id}\" }",
            "path = { pattern = \"/a/{id}\" }; query = { a = \"1\" }",
            "with the conditions of",
        ),
    ] {
        let found = findings_of(&[open, guarded]);
        let errors: Vec<_> = found.iter().filter(|line| !line.contains("warning: ")).collect();
        let line = open.matches("; ").count() + 10;
        assert!(
            errors.len() == 1 && errors[0].starts_with(&format!("{line}:8: ")),
            "{guarded} {open}: {found:?}"
        );
        assert!(errors[0].contains(which), "{guarded} {open}: {found:?}");
        let marked = format!("{open}; unguarded = true");
        assert_eq!(findings_of(&[&marked, guarded]), [] as [&str; 0], "{guarded} {open}");
    }
}

#[test]
fn route_that_probably_leaves_a_guarded_path_open_is_warned_about() {
    for (guarded, open, path) in [
        ("!path = { exact = \"/admin\" }", "path = \"/\"", "for /admin/"),
        ("!path = { exact = \"/admin/\" }", "path = \"/\"", "for /admin do"),
        ("!path = \"/a\"; host = \"a.example\"", "path = \"/a\"", "that send another host"),
        ("!path = { pattern = \"/a/{id}\" }", "path = \"/a\"", "for /a/x/"),
        ("!path = { pattern = \"/{tenant}/admin\" }", "path = \"/api\"", "for /api/admin"),
        ("!path = \"/a/b/c\"", "path = { pattern = \"/a/b/{x}\" }", ""),
        ("!path = { pattern = \"/{x}/b\" }", "path = { pattern = \"/a/{x}\" }", "for /a/b"),
    ] {
        let found = findings_of(&[open, guarded]);
        assert_eq!(found.len(), usize::from(!path.is_empty()), "{guarded} {open}: {found:?}");
        let is_warning = |line: &String| line.contains("warning: ") && line.contains(path);
        assert!(found.iter().all(is_warning), "{guarded} {open}: {found:?}");
        let marked = format!("{open}; unguarded = true");
        assert_eq!(findings_of(&[&marked, guarded]), [] as [&str; 0], "{guarded} {open}");
    }
}

#[test]
fn open_route_beside_a_guarded_one_is_accepted_where_it_is_meant() {
    for routes in [
        &["!path = \"/\"", "path = \"/public\""][..],
        &["!path = \"/\"", "path = { exact = \"/\" }"],
        &["!path = \"/users\"", "path = { pattern = \"/users/{id}/avatar\" }"],
        &["!path = \"/a\"", "path = \"/\""],
        &["!path = \"/a\"", "path = \"/a\"; methods = [\"GET\"]"],
        &["!path = \"/a\"; methods = [\"POST\"]", "path = \"/a\"; methods = [\"GET\"]; host = \"a.example\""],
        &["!path = \"/a\"; host = \"a.example\"", "path = \"/a\"; host = \"b.example\""],
        &["!path = \"/a\"; headers = { x-a = true }", "!path = \"/a\"", "path = \"/\""],
        &["!path = \"/a\"", "path = \"/\"; host = \"a.example\"", "!path = \"/a\"; host = \"a.example\""],
        &["!path = { exact = \"/admin\" }", "path = \"/\"", "!path = \"/admin\""],
    ] {
        assert_eq!(findings_of(routes), [] as [&str; 0], "{routes:?}");
    }
}

#[test]
fn condition_that_proves_nothing_is_rejected() {
    for (route, place, why) in [
        ("path = \"/\"; headers = { host = \"a\" }", "8:11", "written as host"),
        ("path = \"/\"; headers = { X-Caller-Id = \"a\" }", "8:11", "set by the gateway"),
        ("path = \"/\"; headers = { X-Forwarded-Proto = \"https\" }", "8:11", "what any client sends"),
        (
            "path = \"/\"; headers = { x-a = true }; cors = { origins = [\"*\"] }",
            "9:",
            "preflight requests have none of these headers",
        ),
        ("path = \"/\"; headers = { x-a = false }", "8:19", "a condition cannot be false"),
        ("path = \"/\"; headers = { x-a = 1 }", "8:19", "true for any value"),
        ("!path = \"/\"; unguarded = true", "8:13", "has no effect"),
        ("path = { exact = \"/a\", pattern = \"/{a}\" }", "7:8", "exactly one of"),
        ("path = { pattern = \"/a/{b}c\" }", "7:8", "must be a whole segment"),
        ("path = { regex = \"/a\" }", "7:10", "unknown field `regex`"),
        ("path = \"/\"; host = \"*\"", "8:8", "leave the host out"),
    ] {
        let found = findings_of(&[route]);
        let is_found = |line: &String| line.starts_with(place) && line.contains(why);
        assert!(found.iter().any(is_found), "{route}: {found:?}");
    }
}
