//! The lines' fields as Markdown tables, out of their JSON Schema.

use std::fmt::Write;

use serde_json::Value;

/// What a schema defines: an object with keys, or a word with its choices.
struct Definition<'s> {
    name: &'s str,
    schema: &'s Value,
    /// Where it stands.
    places: Vec<String>,
    /// What stands before its keys' names: nothing for a line, `client.` for a leg.
    path: String,
    /// Of which lines it is a part, where those are not a pair's open and close.
    of: String,
}

/// A table of each object and each choice in a line: keys with type, meaning, unit, and when they
/// are null.
pub(super) fn of(schema: &Value) -> String {
    let mut found: Vec<Definition<'_>> = Vec::new();
    for line in list(schema, "oneOf") {
        let event = text(&line["properties"]["event"], "const");
        let of = match event {
            "open" | "close" => String::new(),
            other => format!(" of `{other}` lines"),
        };
        note(&mut found, schema, line, format!("`{event}` lines"), String::new(), &of);
    }
    let mut next = 0;
    while let Some(known) = found.get(next) {
        let (definition, path, of) = (known.schema, known.path.clone(), known.of.clone());
        for variant in list(definition, "oneOf") {
            let os = text(&variant["properties"]["os"], "const");
            let place = format!("`{}` with `os` `{os}`", path.trim_end_matches('.'));
            note(&mut found, schema, variant, place, path.clone(), &of);
        }
        for (key, property) in properties(definition) {
            let each = if property["items"].is_object() { "[]" } else { "" };
            let at = format!("{path}{key}{each}");
            note(&mut found, schema, property, format!("`{at}`{of}"), format!("{at}."), &of);
        }
        next += 1;
    }
    found.iter().map(|definition| table(schema, definition)).collect()
}

/// Notes that what `value` refers to stands at this place.
fn note<'s>(
    found: &mut Vec<Definition<'s>>,
    schema: &'s Value,
    value: &'s Value,
    place: String,
    path: String,
    of: &str,
) {
    let Some(name) = reference(value) else { return };
    match found.iter_mut().find(|known| known.name == name) {
        Some(known) => known.places.push(place),
        None => found.push(Definition {
            name,
            schema: &schema["$defs"][name],
            places: vec![place],
            path,
            of: of.to_owned(),
        }),
    }
}

/// The name of the definition that a value has, may have, or has in an array.
fn reference(value: &Value) -> Option<&str> {
    let own = [&value["$ref"], &value["items"]["$ref"]].into_iter();
    let choices = list(value, "anyOf").iter().map(|choice| &choice["$ref"]);
    own.chain(choices).find_map(Value::as_str)?.strip_prefix("#/$defs/")
}

/// The keys of an object, in their order in a line.
fn properties(definition: &Value) -> Vec<(&str, &Value)> {
    let Some(properties) = definition["properties"].as_object() else { return Vec::new() };
    let required: Vec<_> = list(definition, "required").iter().filter_map(Value::as_str).collect();
    let rest = properties.keys().map(String::as_str).filter(|key| !required.contains(key));
    let keys = required.iter().copied().chain(rest);
    keys.filter_map(|key| properties.get(key).map(|property| (key, property))).collect()
}

fn table(schema: &Value, definition: &Definition<'_>) -> String {
    let mut table = String::new();
    // Writing to a string does not fail.
    let mut row = |cells: &[&str]| _ = writeln!(table, "| {} |", cells.join(" | "));
    let keys = properties(definition.schema);
    let choices = list(definition.schema, "oneOf").iter().filter(|c| c["const"].is_string());
    if keys.is_empty() {
        for (at, choice) in choices.enumerate() {
            if at == 0 {
                row(&["value", "meaning"]);
                row(&["---", "---"]);
            }
            row(&[&format!("`{}`", text(choice, "const")), &meaning(choice)]);
        }
    } else {
        row(&["key", "type", "meaning"]);
        row(&["---", "---", "---"]);
        for (key, property) in keys {
            row(&[&format!("`{key}`"), &type_of(schema, property), &meaning(property)]);
        }
    }
    if table.is_empty() {
        return table;
    }
    let (heading, also) = match &definition.places[..] {
        lines if definition.path.is_empty() => (lines.join(", "), String::new()),
        [first] => (first.clone(), String::new()),
        [first, others @ ..] => (first.clone(), format!("Also {}. ", others.join(", "))),
        [] => return table,
    };
    let about = format!("{also}{}", meaning(definition.schema));
    let about = Some(about.trim_end()).filter(|about| !about.is_empty());
    let about = about.map(|about| format!("{about}\n\n")).unwrap_or_default();
    format!("### {heading}\n\n{about}{table}\n")
}

/// `integer`, `string or null`, `array of objects`.
fn type_of(schema: &Value, value: &Value) -> String {
    let types: Vec<&str> = match &value["type"] {
        Value::String(one) => vec![one],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is_nullable = types.contains(&"null")
        || list(value, "anyOf").iter().any(|choice| text(choice, "type") == "null");
    let referred = reference(value).map(|name| &schema["$defs"][name]);
    let what = match (types.first(), referred) {
        (Some(&"array"), Some(item)) => format!("array of {}s", kind(item)),
        (Some(&"array"), None) => format!("array of {}s", kind(&value["items"])),
        (Some(plain), _) => (*plain).to_owned(),
        (None, Some(definition)) => kind(definition).to_owned(),
        (None, None) => String::new(),
    };
    if is_nullable { format!("{what} or null") } else { what }
}

/// What a definition is in JSON: most are objects.
fn kind(definition: &Value) -> &str {
    let own = [&definition["type"], &definition["oneOf"][0]["type"]];
    own.into_iter().find_map(Value::as_str).unwrap_or("object")
}

/// A description in one line, in the words of JSON.
fn meaning(value: &Value) -> String {
    let words = text(value, "description").split_whitespace().collect::<Vec<_>>().join(" ");
    let words = words.replace(". `None`", ". Null").replace("`None`", "null");
    words.replace("[`", "`").replace("`]", "`").replace('|', "\\|")
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}
