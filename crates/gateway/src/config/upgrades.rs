//! Upgrades of connections to other protocols.

use std::num::NonZeroU32;

use serde::{Deserialize, Deserializer, de};

use super::ConfigDuration;

/// The upgrades that a route allows, such as WebSocket.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upgrades {
    /// The names of the protocols, as in the header `Upgrade`.
    #[serde(deserialize_with = "protocols")]
    pub protocols: Vec<String>,
    /// The maximum number of upgraded connections of the route; beyond it, the response is 503.
    pub connections: NonZeroU32,
    /// The maximum age of an upgraded connection.
    pub max_age: ConfigDuration,
}

impl Default for Upgrades {
    fn default() -> Self {
        Self {
            protocols: vec!["websocket".into()],
            connections: NonZeroU32::MIN.saturating_add(999),
            max_age: ConfigDuration::from_secs(24 * 3_600),
        }
    }
}

/// The treatment of an upgrade that the route does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisallowedUpgrades {
    /// The header is removed, and the request is served without the upgrade (RFC 9110, section 7.8).
    #[default]
    Ignore,
    /// The request is denied (501), unless the protocol is `h2c`, which clients offer with ordinary requests.
    Deny,
}

fn protocols<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<String>, D::Error> {
    let list = Vec::<String>::deserialize(list)?;
    if list.is_empty() {
        return Err(de::Error::custom("an empty list allows no upgrade; write upgrades = false instead"));
    }
    let is_name = |name: &String| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'/'))
    };
    if let Some(name) = list.iter().find(|name| !is_name(name)) {
        return Err(de::Error::custom(format!(
            "{name:?} is not the name of a protocol, such as \"websocket\""
        )));
    }
    if list.iter().any(|name| name.eq_ignore_ascii_case("h2c")) {
        return Err(de::Error::custom(
            "the upgrade to h2c is obsolete; set h2c = true at the listener instead",
        ));
    }
    Ok(list)
}
