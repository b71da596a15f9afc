//! A setting that can be switched on with its defaults.

use serde::{Deserialize, Deserializer, de};

/// A setting that is `true`, `false` or a table of details.
#[derive(Debug, Clone)]
pub struct Toggle<T>(Option<T>);

impl<T> Toggle<T> {
    /// Returns the settings, if enabled.
    pub fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Toggle<T> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de> + Default> de::Visitor<'de> for Visitor<T> {
            type Value = Toggle<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("true, false or a table")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Toggle<T>, E> {
                Ok(Toggle(on.then(T::default)))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Toggle<T>, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(|it| Toggle(Some(it)))
            }
        }

        value.deserialize_any(Visitor(std::marker::PhantomData))
    }
}
