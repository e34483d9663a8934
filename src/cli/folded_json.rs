//! JSON for people: indented, and folded where it fits into a line.

use std::fmt;

use conniver::columns::columns;
use conniver::record::Printable;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// How far what is inside stands to the right.
const INDENT: usize = 2;

/// The object `json` with a key a line, where an object or a list in it that fits into `width` columns stands in one line.
/// Keys keep their order. Text in it has nothing that a terminal would take for a command.
///
/// # Errors
///
/// It is not JSON.
pub(super) fn folded(json: &str, width: usize) -> serde_json::Result<String> {
    let node: Node = serde_json::from_str(json)?;
    let mut text = String::new();
    node.write(&mut text, 0, usize::MAX, width);
    Ok(text)
}

/// A value whose keys are in the order of the text.
enum Node {
    /// As it is written.
    Leaf(String),
    Object(Vec<(String, Node)>),
    List(Vec<Node>),
}

impl Node {
    /// `taken`: columns of its first line that are taken, beside the indentation.
    fn write(&self, text: &mut String, indent: usize, taken: usize, width: usize) {
        let flat = self.flat();
        // A comma may follow.
        let fits = indent.saturating_add(taken).saturating_add(columns(&flat)) < width;
        let (open, close, items): (_, _, Vec<(&str, &Self)>) = match self {
            Self::Object(items) if !fits => {
                ('{', '}', items.iter().map(|(key, node)| (&**key, node)).collect())
            }
            Self::List(nodes) if !fits => ('[', ']', nodes.iter().map(|node| ("", node)).collect()),
            _ => return text.push_str(&flat),
        };
        text.push(open);
        let inner = indent + INDENT;
        for (at, (key, node)) in items.iter().enumerate() {
            text.push_str(if at > 0 { ",\n" } else { "\n" });
            text.push_str(&" ".repeat(inner));
            text.push_str(key);
            node.write(text, inner, columns(key), width);
        }
        text.push('\n');
        text.push_str(&" ".repeat(indent));
        text.push(close);
    }

    /// In one line, with a space after commas and colons.
    fn flat(&self) -> String {
        match self {
            Self::Leaf(text) => text.clone(),
            Self::Object(items) => {
                let items = items.iter().map(|(key, node)| format!("{key}{}", node.flat()));
                format!("{{{}}}", items.collect::<Vec<_>>().join(", "))
            }
            Self::List(nodes) => {
                format!("[{}]", nodes.iter().map(Self::flat).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

/// Any value but an object or a list.
fn leaf<E>(value: impl Into<Value>) -> Result<Node, E> {
    Ok(Node::Leaf(Printable(value.into()).to_string()))
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        leaf(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        leaf(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        leaf(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        leaf(value)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        leaf(value)
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        leaf(value)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some((key, node)) = map.next_entry::<String, Node>()? {
            items.push((format!("{}: ", Printable(Value::from(key))), node));
        }
        Ok(Node::Object(items))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_stands_in_one_line_and_keys_keep_their_order() {
        let json =
            r#"{"z":{"b":1,"a":null},"list":[1.5,-2],"long":{"first":"one two","second":[true]}}"#;
        let shown = r#"{
  "z": {"b": 1, "a": null},
  "list": [1.5, -2],
  "long": {
    "first": "one two",
    "second": [true]
  }
}"#;
        assert_eq!(folded(json, 30).unwrap(), shown);
        assert_eq!(folded("{}", 30).unwrap(), "{\n}");
    }

    #[test]
    fn nothing_in_it_commands_a_terminal() {
        let shown = folded(r#"{"\u009b":"\u001b]0;x\u0007\u202e"}"#, 80).unwrap();
        assert!(!shown.contains(['\u{9b}', '\u{1b}', '\u{7}', '\u{202e}']), "{shown}");
    }
}
