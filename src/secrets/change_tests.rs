//! Cases of changes to a text.

use proptest::prelude::*;

use super::*;

const TEXT: &str = "\
# Mail, see the wiki.
smtp:
  password: old # from the provider
  port: 587

key: |
  line one
  line two
# The end.
";

#[test]
fn sets_what_is_there_and_what_is_not() {
    for (key, value, line, instead) in [
        ("smtp.password", "new", "  password: old #", "  password: new #"),
        ("smtp.port", "588", "port: 587", "port: \"588\""),
        ("key", "x", "key: |\n  line one\n  line two\n", "key: x\n"),
        ("key", "a\nb", "  line one\n  line two\n", "  a\n  b\n"),
        ("key", "a\nb", "key: |\n", "key: |-\n"),
        ("smtp", "none", "smtp:\n  password: old # from the provider\n  port: 587", "smtp: none"),
        ("smtp.user", "no", "port: 587\n", "port: 587\n  user: \"no\"\n"),
        ("smtp.tls.key", "k", "port: 587\n", "port: 587\n  tls:\n    key: k\n"),
        ("new", "a\"b", "line two\n", "line two\nnew: \"a\\\"b\"\n"),
    ] {
        let found = set("all", TEXT, key, value).unwrap();
        let wanted = TEXT.replace(line, instead);
        if key == "key" && value == "a\nb" {
            assert!(found.contains(instead), "{}", found.as_str());
        } else {
            assert_eq!(found.as_str(), wanted);
        }
    }
}

#[test]
fn sets_in_any_form_of_yaml() {
    for (text, key, wanted) in [
        ("", "a.b", "a:\n  b: x\n"),
        ("# c\n", "a", "# c\na: x\n"),
        ("{}", "a", "{a: x}"),
        ("{a: 1}\n", "b.c", "{a: 1, b: { c: x }}\n"),
        ("a: {b: 1, }\n", "a.c", "a: {b: 1, c: x }\n"),
        ("a: { b: 1 }\n", "a.c", "a: { b: 1, c: x }\n"),
        ("a:\nb: 1\n", "a", "a: x\nb: 1\n"),
        ("a:\nb: 1\n", "a.c", "a:\n  c: x\nb: 1\n"),
        ("a: null\n", "a.c", "a:\n  c: x\n"),
        ("a: 1", "b", "a: 1\nb: x\n"),
        ("a: [1, 2] # list\n", "a", "a: x # list\n"),
        ("a:\n  - 1\n  - 2\nb: 1\n", "a", "a: x\nb: 1\n"),
        ("\"a b\": '1'\n", "a b", "\"a b\": x\n"),
    ] {
        assert_eq!(set("all", text, key, "x").unwrap().as_str(), wanted, "{text}");
    }
}

#[test]
fn removes_an_entry_and_maps_that_become_empty() {
    for (text, key, wanted) in [
        (TEXT, "smtp.port", TEXT.replace("  port: 587\n", "")),
        (TEXT, "key", TEXT.replace("key: |\n  line one\n  line two\n", "")),
        ("a:\n  b:\n    c: 1\nd: 1\n", "a.b.c", "d: 1\n".to_owned()),
        ("{a: 1, b: 2, c: 3}", "b", "{a: 1, c: 3}".to_owned()),
        ("{a: 1, b: 2}", "b", "{a: 1}".to_owned()),
        ("{a: 1}", "a", "{}".to_owned()),
        ("a: 1\n", "a", String::new()),
        ("a: 1\nb:\n", "b", "a: 1\n".to_owned()),
    ] {
        assert_eq!(remove("all", text, key).unwrap().as_str(), wanted, "{text}");
    }
}

#[test]
fn refuses_what_it_cannot_do() {
    let error = |result: Result<Zeroizing<String>>| result.err().unwrap().to_string();
    assert_eq!(
        error(set("all", "a: hunter2\n", "a.b", "x")),
        "cannot set `a.b` in `secrets/all.yaml.age`\ncaused by: `a` is a text and no map"
    );
    assert_eq!(
        error(set("all", "a: &x {b: 1}\nc: *x\n", "a.b", "x")),
        "cannot change `a.b` in `secrets/all.yaml.age`\n\
         caused by: the YAML around it is written in a way that only a person can change\n\
         hint: use `infra secrets edit all`"
    );
    assert_eq!(
        error(set("all", "", "a..b", "x")),
        "`a..b` is no name of a secret\n\
         hint: a name is one or more keys with dots between: `smtp.password`"
    );
    assert_eq!(
        error(remove("all", "smtp: {password: x}\n", "smtp.pasword")),
        "`secrets/all.yaml.age` has no secret `smtp.pasword`\nhint: did you mean `smtp.password`?"
    );
    assert_eq!(
        error(set("all", "a: 'hunter2\n", "b", "x")),
        "cannot open `secrets/all.yaml.age`\ncaused by: line 1 of what is in it is not YAML"
    );
}

#[test]
fn merges_and_keeps_what_is_around() {
    let ours = TEXT.replace("587", "25").replace("# The end.", "more: 1\n# The end.");
    let theirs = TEXT.replace("old", "new").replace("# The end.", "x: {z: [1, a b]}\n");
    let merged = merge("all", TEXT, &ours, &theirs).unwrap();
    let wanted =
        ours.replace("old", "new").replace("more: 1\n", "more: 1\nx:\n  z: [1, \"a b\"]\n");
    assert_eq!(merged.text.as_str(), wanted);
    assert!(merged.conflicts.is_empty());
}

#[test]
fn a_conflict_keeps_ours_and_notes_theirs() {
    let (ours, theirs) = ("a: 1\nb: ours\n", "a: 2\nb: theirs\nc: 1\n");
    let merged = merge("all", "a: 1\nb: 1\n", ours, theirs).unwrap();
    assert_eq!(merged.text.as_str(), "a: 2\nb: ours\nc: 1\n");
    assert_eq!(merged.conflict_names(), "`b`");
    let noted = with_notes("all", &merged.text, theirs, &merged.conflicts, "the other").unwrap();
    assert_eq!(
        noted.as_str(),
        "#! the other has other values here. These lines go when you save.\n#! b: theirs\n\
         a: 2\nb: ours\nc: 1\n"
    );
    assert_eq!(without_notes(&noted).as_str(), merged.text.as_str());
}

#[test]
fn keys_may_have_dots() {
    let text = "flus.fr:\n  password: a\nx: {a.b: 1}\nlist: [p, q]\n";
    let value = |text: &str, key: &str| {
        crate::secrets::document::value("all", text, key).map(|value| value.as_str().to_owned())
    };
    assert_eq!(value(text, "flus.fr.password").unwrap(), "a");
    assert_eq!(value(text, "x.a.b").unwrap(), "1");
    assert_eq!(value(text, "list.1").unwrap(), "q");
    assert_eq!(
        set("all", text, "flus.fr.password", "b").unwrap().as_str(),
        text.replace("password: a", "password: b")
    );
    assert_eq!(
        set("all", text, "flus.io.password", "b").unwrap().as_str(),
        format!("{text}flus:\n  io:\n    password: b\n")
    );
    assert_eq!(
        remove("all", text, "flus.fr.password").unwrap().as_str(),
        "x: {a.b: 1}\nlist: [p, q]\n"
    );
    let (ours, theirs) = (text.replace(": a", ": ours"), text.replace(": a", ": theirs"));
    let merged = merge("all", text, &ours, &theirs).unwrap();
    assert_eq!(merged.conflict_names(), "`flus.fr.password`");
    let noted = with_notes("all", &merged.text, &theirs, &merged.conflicts, "the other").unwrap();
    assert!(noted.contains("#! flus.fr.password: theirs\n"), "{}", noted.as_str());
}

proptest! {
    #[test]
    fn any_text_can_be_set(value in "(.|\n|\t|\r| ){0,40}", key in "[a-c](\\.[a-c]){0,2}") {
        for text in ["", "a: 1\nb:\n  c: |\n    x\n", "{a: {b: {c: 1}}}"] {
            if let Ok(text) = set("all", text, &key, &value) {
                let found = crate::secrets::document::value("all", &text, &key).unwrap();
                prop_assert_eq!(found.as_str(), value.as_str());
            } else {
                prop_assert!(text == "a: 1\nb:\n  c: |\n    x\n" || key.contains('.'));
            }
        }
    }
}
