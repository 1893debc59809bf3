//! YAML within bounds: a document that grows by its aliases is refused while it grows.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess as _,
    Visitor,
};

use super::InputError;

/// Most values in all documents of a text, aliases followed.
const MOST_NODES: usize = 200_000;
/// Most bytes of text in them.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// Most documents in a text.
const MOST_DOCUMENTS: usize = 2_000;

/// A value of YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// Nothing.
    Null,
    /// A scalar, as text.
    Scalar(String),
    /// A list.
    List(Vec<Node>),
    /// A map in its order; keys may be there twice.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// Returns what is under `key`: the last of them, else what a merge key brings.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let Self::Map(pairs) = self else { return None };
        let own = pairs.iter().rev().find(|(name, _)| name == key);
        if let Some((_, node)) = own {
            return Some(node);
        }
        pairs
            .iter()
            .filter(|(name, _)| name == "<<")
            .find_map(|(_, merged)| match merged {
                Self::List(list) => list.iter().find_map(|node| node.get(key)),
                node => node.get(key),
            })
    }

    /// Returns what is under a path of keys.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Returns a scalar's text.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the text under a path of keys.
    pub(super) fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path)?.text()
    }

    /// Returns the items of a list.
    pub(super) fn items(&self) -> &[Node] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// Returns the pairs of a map, merged ones first so that the map's own win.
    pub(super) fn pairs(&self) -> Vec<(&str, &Node)> {
        let Self::Map(pairs) = self else {
            return Vec::new();
        };
        let mut out = Vec::new();
        for (_, merged) in pairs.iter().filter(|(name, _)| name == "<<") {
            match merged {
                // The first of several wins.
                Self::List(list) => out.extend(list.iter().rev().flat_map(Node::pairs)),
                node => out.extend(node.pairs()),
            }
        }
        let own = pairs.iter().filter(|(name, _)| name != "<<");
        out.extend(own.map(|(name, node)| (name.as_str(), node)));
        out
    }

    /// Returns true for a map.
    pub(super) fn is_map(&self) -> bool {
        matches!(self, Self::Map(_))
    }
}

/// Reads every document of a text.
pub(super) fn documents(text: &str) -> Result<Vec<Node>, InputError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let budget = Budget {
        nodes: Cell::new(MOST_NODES),
        bytes: Cell::new(MOST_BYTES),
    };
    let mut out = Vec::new();
    for document in yaml_serde::Deserializer::from_str(text) {
        if out.len() == MOST_DOCUMENTS {
            return Err(InputError::new(format!(
                "has more than {MOST_DOCUMENTS} documents"
            )));
        }
        let node = Seed(&budget).deserialize(document).map_err(|error| {
            if budget.spent() {
                return InputError::new(format!(
                    "grows beyond {MOST_NODES} values or {MOST_BYTES} bytes when its aliases are followed"
                ));
            }
            // The library's message may repeat the text around the place.
            match error.location() {
                Some(at) => InputError::new(format!(
                    "is not YAML that can be read (line {}, column {})",
                    at.line(),
                    at.column()
                )),
                None => InputError::new("is not YAML that can be read"),
            }
        })?;
        out.push(node);
    }
    Ok(out)
}

struct Budget {
    nodes: Cell<usize>,
    bytes: Cell<usize>,
}

impl Budget {
    fn take<E: de::Error>(&self, bytes: usize) -> Result<(), E> {
        let (nodes, left) = (self.nodes.get(), self.bytes.get());
        if nodes == 0 || left < bytes {
            self.nodes.set(0);
            return Err(E::custom("too large"));
        }
        self.nodes.set(nodes - 1);
        self.bytes.set(left - bytes);
        Ok(())
    }

    fn spent(&self) -> bool {
        self.nodes.get() == 0
    }
}

struct Seed<'a>(&'a Budget);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Seed<'_> {
    fn scalar<E: de::Error>(&self, text: impl fmt::Display) -> Result<Node, E> {
        let text = text.to_string();
        self.0.take(text.len())?;
        Ok(Node::Scalar(text))
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        self.0.take(0)?;
        Ok(Node::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        self.scalar(value)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        self.scalar(value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        self.scalar(value)
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Node, E> {
        self.scalar(value)
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Node, E> {
        self.scalar(value)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        self.scalar(value)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        self.scalar(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        self.0.take(0)?;
        let mut out = Vec::new();
        while let Some(node) = list.next_element_seed(Seed(self.0))? {
            out.push(node);
        }
        Ok(Node::List(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        self.0.take(0)?;
        let mut out = Vec::new();
        while let Some(key) = map.next_key_seed(Seed(self.0))? {
            let key = match key {
                Node::Scalar(text) => text,
                Node::Null => "null".to_owned(),
                _ => return Err(de::Error::custom("a key that is no scalar")),
            };
            out.push((key, map.next_value_seed(Seed(self.0))?));
        }
        Ok(Node::Map(out))
    }

    /// A tag such as `!reset` says nothing about the environment.
    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Node, A::Error> {
        let (_, content) = tagged.variant_seed(Seed(self.0))?;
        content.newtype_variant_seed(Seed(self.0))
    }
}
