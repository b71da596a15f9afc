//! Members and query parameters of the admin API that earlier versions knew by another name.

/// The earlier name and the present name.
const RENAMED: [(&str, &str); 4] = [
    ("covers", "deny"),
    ("lasts", "duration"),
    ("make_callers", "create_callers"),
    ("standing", "subscription"),
];

/// Returns the present name of an unknown member or parameter, if the name is an earlier name of a known one.
pub(crate) fn present_name(unknown: &str, known: &[&str]) -> Option<&'static str> {
    let renamed = RENAMED.iter().find(|(old, new)| *old == unknown && known.contains(new));
    renamed.map(|(_, new)| *new)
}
