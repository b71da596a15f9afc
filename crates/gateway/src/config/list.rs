//! Deserialization of lists.

use http::Method;
use serde::{Deserialize, Deserializer, de};

/// Deserializes a list of methods that a route can accept.
pub(super) fn methods<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<Method>, D::Error> {
    let known = |name: String| match name.parse::<Method>() {
        Ok(method) if matches!(method.as_str(), "CONNECT" | "TRACE" | "TRACK") => {
            Err(de::Error::custom(format!("{name} is not supported; no route can accept it")))
        }
        Ok(method) if name.bytes().all(|b| b.is_ascii_uppercase()) => Ok(method),
        _ => Err(de::Error::custom(format!("\"{name}\" is not a method; use upper case, such as \"GET\""))),
    };
    named::<_, String>(list)?.into_iter().map(known).collect()
}

/// Deserializes a list that must not be empty: the author of an empty list means none, but would get the default.
pub(super) fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(list: D) -> Result<Vec<T>, D::Error> {
    let list = Vec::<T>::deserialize(list)?;
    if list.is_empty() {
        let why = "an empty list names nothing, and does not refuse everything either: leave it out for the default";
        return Err(de::Error::custom(why));
    }
    Ok(list)
}
