//! TOML as JSON, whose numbers are finite and have at most 64 bits: what does not fit is a fault of its key.

use serde_json::{Map, Number, Value as Json};
use toml::de::{DeInteger, DeTable, DeValue, Error};

use crate::{data::Fault, plugins::schema::join};

/// A document as JSON, with the keys whose numbers do not fit, which are null in it.
///
/// # Errors
/// When it is no TOML.
pub fn parse(text: &str) -> Result<(Json, Vec<Fault>), Error> {
    let table = DeTable::parse(text)?;
    let mut faults = Vec::new();
    let json = of_table(table.get_ref(), "", &mut faults);
    Ok((json, faults))
}

fn of_table(table: &DeTable<'_>, path: &str, faults: &mut Vec<Fault>) -> Json {
    let entries = table.iter().map(|(key, value)| {
        let key = key.get_ref();
        let below = of_value(value.get_ref(), &join(path, key), faults);
        (key.to_string(), below)
    });
    Json::Object(entries.collect::<Map<_, _>>())
}

fn of_value(value: &DeValue<'_>, path: &str, faults: &mut Vec<Fault>) -> Json {
    let number = |number: Option<Number>, expected: &str, got: &dyn std::fmt::Display| match number
    {
        Some(number) => Ok(Json::Number(number)),
        None => Err(format!("expected {expected}, got {got}")),
    };
    let read = match value {
        DeValue::String(text) => Ok(Json::String(text.to_string())),
        DeValue::Boolean(is) => Ok(Json::Bool(*is)),
        DeValue::Datetime(time) => Ok(Json::String(time.to_string())),
        DeValue::Table(table) => Ok(of_table(table, path, faults)),
        DeValue::Array(items) => {
            let items = items.iter().enumerate();
            let items =
                items.map(|(i, item)| of_value(item.get_ref(), &format!("{path}[{i}]"), faults));
            Ok(Json::Array(items.collect()))
        }
        DeValue::Integer(text) => number(integer(text), "an integer of at most 64 bits", text),
        DeValue::Float(text) => {
            let read = text.as_str().parse().ok().and_then(Number::from_f64);
            number(read, "a finite number", text)
        }
    };
    read.unwrap_or_else(|message| {
        faults.push(Fault::new(path, message));
        Json::Null
    })
}

fn integer(text: &DeInteger<'_>) -> Option<Number> {
    let (digits, radix) = (text.as_str(), text.radix());
    let signed = i64::from_str_radix(digits, radix).map(Number::from);
    let unsigned = || u64::from_str_radix(digits, radix).map(Number::from);
    signed.or_else(|_| unsigned()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_keep_their_meaning() {
        let text = "a = 1_000\nb = 1.5e3\nc = 0xff\nd = [1, [true]]\ne = { f = 'x' }\ng = 1979-05-27\n[h.i]\nj = -2\n\
                    k = 18446744073709551615";
        let (json, faults) = parse(text).unwrap();
        assert_eq!(faults, []);
        let expected = json!({
            "a": 1000, "b": 1500.0, "c": 255, "d": [1, [true]], "e": {"f": "x"}, "g": "1979-05-27",
            "h": {"i": {"j": -2, "k": 18_446_744_073_709_551_615_u64}},
        });
        assert_eq!(json, expected);
        assert!(parse("a = = 1").is_err());
    }

    #[test]
    fn numbers_that_json_lacks_are_told_as_they_were_written() {
        let text = "a = inf\nb.c = [1, -nan]\nd = 1e400\ne = 18446744073709551616";
        let told: Vec<String> = parse(text)
            .unwrap()
            .1
            .iter()
            .map(Fault::to_string)
            .collect();
        let expected = [
            "a: expected a finite number, got inf",
            "b.c[1]: expected a finite number, got -nan",
            "d: expected a finite number, got 1e400",
            "e: expected an integer of at most 64 bits, got 18446744073709551616",
        ];
        assert_eq!(told, expected);
    }
}
