//! Settings that earlier versions knew by another name.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A table, the earlier name of one of its settings, and the present name. A table is named by its keys without the
/// numbers of list items; `lockout` means every table of this name.
const RENAMED: [(&str, &str, &str); 20] = [
    ("server", "identity_field", "caller_id_header"),
    ("server", "media_type_field", "media_type_header"),
    ("server", "removed_fields", "removed_headers"),
    ("limits", "head_fields", "header_count"),
    ("limits", "body_rate", "min_data_rate"),
    ("limits", "streams", "streams_per_connection"),
    ("secrets", "environment", "environment_variable"),
    ("admin", "listen", "address"),
    ("lockout", "within", "window"),
    ("lockout", "lasts", "duration"),
    ("surfaces.discue", "switched_off", "disabled_operations"),
    ("routes", "relax", "relax_path_rules"),
    ("routes.policies", "lapsed", "lapsed_subscriptions"),
    ("routes.policies", "scope_target", "scope_target_segment"),
    ("routes.policies.api_key", "kinds", "caller_kinds"),
    ("routes.policies.api_key", "forward", "forward_credential"),
    ("routes.policies.signature", "kinds", "caller_kinds"),
    ("routes.policies.signature", "forward", "forward_credential"),
    ("routes.policies.signature", "unsigned_content", "allow_unsigned_content"),
    ("routes.policies.rate_limit", "draft_10", "ietf_draft_10"),
];

/// Gives every setting with an earlier name the present name, so that its value is checked, too. Returns the byte
/// position of each and a message with both names.
pub(super) fn rename(document: &mut DeTable<'_>) -> Vec<(usize, String)> {
    let mut mistakes = Vec::new();
    in_table("", document, &mut mistakes);
    mistakes
}

fn in_table(path: &str, table: &mut DeTable<'_>, mistakes: &mut Vec<(usize, String)>) {
    let is_here = |name: &str| path == name || name == "lockout" && path.ends_with(".lockout");
    for (_, old, new) in RENAMED.iter().filter(|(name, ..)| is_here(name)) {
        let Some((key, value)) = table.remove_entry(*old) else { continue };
        mistakes.push((key.span().start, format!("`{old}` has been renamed to `{new}`")));
        if !table.contains_key(*new) {
            table.insert(Spanned::new(key.span(), (*new).into()), value);
        }
    }
    for (key, value) in table {
        let key: &str = key.get_ref().as_ref();
        let below = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        in_value(&below, value.get_mut(), mistakes);
    }
}

fn in_value(path: &str, value: &mut DeValue<'_>, mistakes: &mut Vec<(usize, String)>) {
    match value {
        DeValue::Table(table) => in_table(path, table, mistakes),
        DeValue::Array(list) => {
            for item in list.iter_mut() {
                in_value(path, item.get_mut(), mistakes);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Review;

    const HEAD: &str = "store.path = \"x.db\"\nsecrets.file = \"x.secrets\"\n\
                        listeners = [{ address = \"127.0.0.1:0\" }]\nupstreams.up.address = \"127.0.0.1:1\"\n";

    /// Returns the findings about a text, which begins on line 5.
    fn findings(text: &str) -> Vec<String> {
        Review::of_text(&format!("{HEAD}{text}")).findings().iter().map(ToString::to_string).collect()
    }

    fn route(rest: &str) -> String {
        format!("[[routes]]\npath = \"/\"\nupstream = \"up\"\n{rest}")
    }

    #[test]
    fn earlier_name_is_rejected_with_the_present_one() {
        let lockout = "lockout = { attempts = 1, within = \"1s\", duration = \"1s\" }";
        for (text, place, old, new) in [
            ("server.identity_field = \"x-id\"".into(), "5:8", "identity_field", "caller_id_header"),
            ("server.media_type_field = \"x-type\"".into(), "5:8", "media_type_field", "media_type_header"),
            ("server.removed_fields = []".into(), "5:8", "removed_fields", "removed_headers"),
            ("limits.head_fields = 5".into(), "5:8", "head_fields", "header_count"),
            ("limits.body_rate = 5".into(), "5:8", "body_rate", "min_data_rate"),
            ("limits.streams = 5".into(), "5:8", "streams", "streams_per_connection"),
            ("admin.listen = \"127.0.0.1:2\"".into(), "5:7", "listen", "address"),
            (format!("admin.{lockout}"), "5:33", "within", "window"),
            (format!("surfaces.apig.{lockout}"), "5:41", "within", "window"),
            (
                "admin.lockout = { attempts = 1, window = \"1s\", lasts = \"1s\" }".into(),
                "5:48",
                "lasts",
                "duration",
            ),
            ("surfaces.discue.switched_off = []".into(), "5:17", "switched_off", "disabled_operations"),
            (route("relax = []"), "8:1", "relax", "relax_path_rules"),
            (
                route("policies = { api_key = true, lapsed = \"allow\" }"),
                "8:30",
                "lapsed",
                "lapsed_subscriptions",
            ),
            (
                route("policies = { api_key = true, scope = \"a\", scope_target = 1 }"),
                "8:43",
                "scope_target",
                "scope_target_segment",
            ),
            (route("policies.api_key.kinds = [\"app\"]"), "8:18", "kinds", "caller_kinds"),
            (route("policies.api_key.forward = true"), "8:18", "forward", "forward_credential"),
            (route(&format!("policies.api_key.{lockout}")), "8:44", "within", "window"),
            (route("policies.signature.kinds = [\"app\"]"), "8:20", "kinds", "caller_kinds"),
            (route("policies.signature.forward = true"), "8:20", "forward", "forward_credential"),
            (
                route("policies.signature.unsigned_content = false"),
                "8:20",
                "unsigned_content",
                "allow_unsigned_content",
            ),
            (
                route("policies = { api_key = true, rate_limit.draft_10 = true }"),
                "8:41",
                "draft_10",
                "ietf_draft_10",
            ),
        ] {
            let expected = format!("{place}: `{old}` has been renamed to `{new}`");
            let found = findings(&text);
            let errors: Vec<_> = found.iter().filter(|line| !line.contains("warning: ")).collect();
            assert_eq!(errors, [&expected], "{text}");
        }
        let environment = HEAD.replace("secrets.file", "secrets.environment = \"S\"\nsecrets.file");
        let found: Vec<_> =
            Review::of_text(&environment).findings().iter().map(ToString::to_string).collect();
        assert!(
            found.contains(&"2:9: `environment` has been renamed to `environment_variable`".into()),
            "{found:?}"
        );
    }

    #[test]
    fn value_of_a_renamed_setting_is_checked() {
        let found = findings(&route("policies.lapsed = \"refuse\""));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().any(|line| line.contains("`deny` or `allow`")), "{found:?}");
    }
}
