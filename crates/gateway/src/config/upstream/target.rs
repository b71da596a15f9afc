//! Targets of an upstream.

use std::num::NonZeroU16;

use serde::{Deserialize, Deserializer, de};

use super::UpstreamAddress;

/// A target of an upstream, written as an address, or as a table of address and weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The address.
    pub address: UpstreamAddress,
    /// The share of requests in proportion to the other targets, from 1 to 65,535. Each address of a name has this
    /// weight.
    pub weight: NonZeroU16,
}

impl From<UpstreamAddress> for Target {
    fn from(address: UpstreamAddress) -> Self {
        Self { address, weight: NonZeroU16::MIN }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetTable {
    address: UpstreamAddress,
    #[serde(default = "one")]
    weight: NonZeroU16,
}

fn one() -> NonZeroU16 {
    NonZeroU16::MIN
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Target;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an address such as \"http://orders:9000\", or { address = \"…\", weight = 2 }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Target, E> {
                text.parse::<UpstreamAddress>().map(Target::from).map_err(E::custom)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Target, A::Error> {
                let TargetTable { address, weight } =
                    TargetTable::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Target { address, weight })
            }
        }

        value.deserialize_any(Visitor)
    }
}
