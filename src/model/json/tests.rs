use serde_json::json;

use super::*;

#[test]
fn a_value_is_what_it_was_read_from() {
    let text = r#"{"b":[1,-2,2.5,true,null,"x"],"a":{"metadata":{"name":"n","x.y/z":""}},"":{}}"#;
    let theirs: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let ours: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(ours, Value::from(theirs.clone()));
    assert_eq!(ours.to_json(), theirs);
    assert_eq!(ours.to_string(), theirs.to_string());
}

#[test]
fn of_two_fields_with_one_name_the_last_counts() {
    let value: Value = serde_json::from_str(r#"{"a":1,"b":2,"a":3,"a":4}"#).expect("JSON");
    assert_eq!(value.to_json(), json!({"a": 4, "b": 2}));
}

#[test]
fn fields_are_found_in_small_and_in_large_objects() {
    for count in [0, 1, 8, 9, 100] {
        let fields: serde_json::Map<_, _> = (0..count).map(|n| (format!("f{n}"), json!(n))).collect();
        let value = Value::from(serde_json::Value::Object(fields));
        for n in 0..count {
            assert_eq!(value.get(&format!("f{n}")).and_then(Value::as_i64), Some(n));
        }
        assert!(value.get("other").is_none());
    }
}

#[test]
fn a_known_name_is_found_and_has_one_form() {
    let names = ["metadata", "name", "zone", "accepted", "unheard", ""];
    for name in names {
        assert_eq!(Key::from(name).as_str(), name);
        assert!(Key::from(name) == Key::from(name.to_owned()));
    }
    assert!(names.windows(2).all(|two| Key::from(two[0]) != Key::from(two[1])));
}

#[test]
fn a_pointer_leads_where_the_standard_one_does() {
    let value = json!({"a": [{"b": 1}, [2]], "": {"": 3}, "x~y": 4, "c/d": 5, "0": 6});
    let ours = Value::from(value.clone());
    for pointer in [
        "", "/", "//", "/a", "/a/0/b", "/a/1/0", "/a/01", "/a/+1", "/a/-1", "/a/7", "/a/", "/0", "/x~0y",
        "/c~1d", "a", "/a/0/b/c", "/nothing",
    ] {
        assert_eq!(ours.pointer(pointer).map(Value::to_json).as_ref(), value.pointer(pointer), "{pointer}");
    }
}

#[test]
fn fields_are_dropped_and_added_in_their_order() {
    let mut value = Value::from(json!({"a": 1, "b": 2, "c": 3}));
    value.as_object_mut().expect("an object").retain(|key, _| key != "b");
    assert_eq!(value.to_json(), json!({"a": 1, "c": 3}));
    let map = value.as_object_mut().expect("an object");
    for (name, number) in [("b", 4), ("", 5), ("d", 6), ("a", 7)] {
        map.insert(name, number.into());
    }
    assert_eq!(value.to_json(), json!({"": 5, "a": 7, "b": 4, "c": 3, "d": 6}));
}
