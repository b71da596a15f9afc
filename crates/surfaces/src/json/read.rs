//! Deserializes a tree into a documented type.

use std::vec;

use serde::{
    Deserializer,
    de::{
        DeserializeSeed, Error, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
        value::StringDeserializer,
    },
    forward_to_deserialize_any,
};

use super::{MemberError, Node};
use crate::integral;

impl Node {
    fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Self::Null => Unexpected::Unit,
            Self::Truth(truth) => Unexpected::Bool(*truth),
            Self::Number(_) => Unexpected::Other("a number"),
            Self::Text(text) => Unexpected::Str(text),
            Self::List(_) => Unexpected::Seq,
            Self::Object(_) => Unexpected::Map,
        }
    }
}

impl<'de> Deserializer<'de> for Node {
    type Error = MemberError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, MemberError> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Truth(truth) => visitor.visit_bool(truth),
            Self::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => visitor.visit_u64(number),
                (None, Some(number)) => visitor.visit_i64(number),
                (None, None) => {
                    let number = number.as_f64().unwrap_or(f64::NAN);
                    match integral(number) {
                        Some(whole) => visitor.visit_i64(whole),
                        None => visitor.visit_f64(number),
                    }
                }
            },
            Self::Text(text) => visitor.visit_string(text),
            Self::List(nodes) => visitor.visit_seq(Elements { left: nodes.into_iter(), at: 0 }),
            Self::Object(members) => visitor.visit_map(Members { left: members.into_iter(), value: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, MemberError> {
        match self {
            Self::Null => visitor.visit_none(),
            node => visitor.visit_some(node),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, MemberError> {
        visitor.visit_newtype_struct(self)
    }

    /// Rejects arrays, because serde would assign their elements to the fields in declaration order.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, MemberError> {
        match self {
            Self::Object(_) => self.deserialize_any(visitor),
            other => Err(MemberError::invalid_type(other.unexpected(), &"an object")),
        }
    }

    /// Accepts a variant only by its name.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, MemberError> {
        match self {
            Self::Text(text) => {
                let name: StringDeserializer<MemberError> = text.into_deserializer();
                visitor.visit_enum(name)
            }
            other => Err(MemberError::invalid_type(other.unexpected(), &"a string")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map identifier ignored_any
    }
}

struct Elements {
    left: vec::IntoIter<Node>,
    at: usize,
}

impl<'de> SeqAccess<'de> for Elements {
    type Error = MemberError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, MemberError> {
        let Some(node) = self.left.next() else { return Ok(None) };
        let at = self.at;
        self.at += 1;
        seed.deserialize(node).map(Some).map_err(|misfit| misfit.within(&at.to_string()))
    }
}

struct Members {
    left: vec::IntoIter<(String, Node)>,
    /// The member whose name was read last.
    value: Option<(String, Node)>,
}

impl<'de> MapAccess<'de> for Members {
    type Error = MemberError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, MemberError> {
        let Some((name, node)) = self.left.next() else { return Ok(None) };
        let key: StringDeserializer<MemberError> = name.clone().into_deserializer();
        self.value = Some((name, node));
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, MemberError> {
        let (name, node) = self.value.take().ok_or_else(|| MemberError::custom("a value without a name"))?;
        seed.deserialize(node).map_err(|misfit| misfit.within(&name))
    }
}
