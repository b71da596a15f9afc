//! Paths that are put together from the parameters of a route.

use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::{
    route_path::{encoded, normalized},
    value::parsed,
};

/// A path with parameters in braces, such as `/v2/{id}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(Box<str>),
    Parameter(Box<str>),
}

impl PathTemplate {
    /// Returns the names of the parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Parameter(name) => Some(&**name),
            Piece::Literal(_) => None,
        })
    }

    /// Returns the path with the values of the parameters, or `None` if one has no value.
    pub fn fill<'v>(&self, value: impl Fn(&str) -> Option<&'v str>) -> Option<String> {
        let mut path = String::new();
        for piece in &self.0 {
            path.push_str(match piece {
                Piece::Literal(text) => text,
                Piece::Parameter(name) => value(name)?,
            });
        }
        Some(path)
    }
}

impl FromStr for PathTemplate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const UNPAIRED: &str = "a parameter is a name in braces, such as {id}";
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some((literal, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').ok_or(UNPAIRED)?;
            let name = name.strip_prefix('*').unwrap_or(name);
            pieces.push(Piece::Literal(encoded(literal).into()));
            pieces.push(Piece::Parameter(name.into()));
            plain.push_str(literal);
            plain.push('x');
            rest = behind;
        }
        pieces.push(Piece::Literal(encoded(rest).into()));
        plain.push_str(rest);
        let (_, breaks) = normalized(&plain)?;
        if !breaks.is_empty() || !text.starts_with('/') {
            return Err("the path must start with / and violate no path rule".into());
        }
        Ok(Self(pieces))
    }
}

impl<'de> Deserialize<'de> for PathTemplate {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        parsed(text)
    }
}
