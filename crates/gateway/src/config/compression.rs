//! Configuration of the compression of responses.

use portcullis::media::MediaRange;
use serde::{Deserialize, Deserializer, de};

/// The media types that are compressed by default: text, and data formats that consist of text.
const CONTENT_TYPES: [&str; 11] = [
    "text/*",
    "application/json",
    "application/*+json",
    "application/x-ndjson",
    "application/xml",
    "application/*+xml",
    "application/yaml",
    "application/javascript",
    "application/wasm",
    "image/svg+xml",
    "font/ttf",
];

/// The compression of a route's responses.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compression {
    /// The algorithms, preferred first. A client that prefers another of them gets that one.
    #[serde(deserialize_with = "algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// The minimum size of a body in bytes. Bodies of unknown size are compressed.
    pub min_bytes: u64,
    /// The media types of bodies to compress.
    #[serde(deserialize_with = "content_types")]
    pub content_types: Vec<MediaRange>,
}

impl Default for Compression {
    fn default() -> Self {
        // The constants are valid.
        let content_types = CONTENT_TYPES.iter().filter_map(|range| range.parse().ok()).collect();
        Self {
            algorithms: vec![Algorithm::Zstd, Algorithm::Br, Algorithm::Gzip],
            min_bytes: 1024,
            content_types,
        }
    }
}

/// A compression algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Brotli (RFC 7932).
    Br,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Algorithm {
    /// Returns the name of the content coding.
    #[must_use]
    pub fn coding(self) -> &'static str {
        match self {
            Self::Br => "br",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

fn algorithms<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<Algorithm>, D::Error> {
    let list = Vec::<Algorithm>::deserialize(list)?;
    if list.is_empty() {
        return Err(de::Error::custom("an empty list compresses nothing; name an algorithm, or use false"));
    }
    match list.iter().enumerate().find(|(at, algorithm)| list[..*at].contains(algorithm)) {
        Some((_, twice)) => Err(de::Error::custom(format!("{} is listed twice", twice.coding()))),
        None => Ok(list),
    }
}

fn content_types<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<MediaRange>, D::Error> {
    let list = Vec::<String>::deserialize(list)?;
    if list.is_empty() {
        return Err(de::Error::custom("an empty list compresses nothing; name a media type, or use false"));
    }
    let parsed = list.iter().map(|range| range.parse());
    let invalid = |error| de::Error::custom(format!("invalid media type: {error}"));
    parsed.collect::<Result<_, portcullis::media::InvalidMedia>>().map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_media_types_are_valid() {
        assert_eq!(Compression::default().content_types.len(), CONTENT_TYPES.len());
    }

    #[test]
    fn list_that_compresses_nothing_is_rejected() {
        for (text, why) in [
            ("algorithms = []", "name an algorithm"),
            ("algorithms = [\"gzip\", \"gzip\"]", "gzip is listed twice"),
            ("algorithms = [\"deflate\"]", "unknown variant `deflate`"),
            ("content_types = []", "name a media type"),
            ("content_types = [\"json\"]", "invalid media type"),
            ("level = 3", "unknown field `level`"),
        ] {
            let error = toml::from_str::<Compression>(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
