//! Secrets that are lists, booleans, maps; files that only some of them may open; and what is made
//! of secrets beside others.

use infra::secret::Scrubber;
use infra::secrets::IdentitySource;

use super::secrets::{encrypt, encrypt_file, keygen, with_secrets};
use super::web_project::{compile, content, file, project, write};

fn role(content: &str) -> String {
    format!(
        "resources:\n  - file:\n      path: /x\n      mode: \"0600\"\n      content: |\n        \
         {}\n",
        content.replace('\n', "\n        ")
    )
}

#[test]
fn lists_and_scalars_are_what_they_are_and_tracked() {
    let folder = project();
    let root = folder.path();
    let source = with_secrets(
        root,
        "hosts: [k, b, c, d, e, f, g, h, i, j, last-one-7Jq2]\nport: 587\ntls: false\n\
         users: [{ name: ada, key: canary-ada-7Jq2 }, { name: bob, key: canary-bob-7Jq2 }]\n\
         odd: { a.b: canary-odd-7Jq2 }\n",
    );
    for (text, wanted) in [
        ("{{ secrets.hosts | join('+') }}", "k+b+c+d+e+f+g+h+i+j+last-one-7Jq2\n"),
        ("{{ secrets.hosts[9:] | join(';') }};", "j;last-one-7Jq2;\n"),
        ("{{ secrets.port + 1 }} {{ 'on' if secrets.tls else 'off' }}", "588 off\n"),
        ("{{ secrets.odd | items | first | last }}", "canary-odd-7Jq2\n"),
    ] {
        write(root, "roles/app/role.yaml", &role(text));
        let manifest = compile(root, &source).unwrap();
        assert_eq!(content(&manifest, "/x"), wanted);
        assert!(!manifest.resources[0].secrets.is_empty(), "{text}");
    }
    let each = "resources:\n  - for_each: secrets.users\n    file: { path: \"/{{ key }}\", \
                mode: \"0600\", content: \"{{ item.key }}\" }\n";
    write(root, "roles/app/role.yaml", each);
    let manifest = compile(root, &source).unwrap();
    assert_eq!(content(&manifest, "/0"), "canary-ada-7Jq2");
    assert_eq!(content(&manifest, "/1"), "canary-bob-7Jq2");
    assert_eq!(manifest.resources[1].secrets, ["users.1.key"]);
    // A map in a text is a mistake, not a mask that would be written to the server.
    write(root, "roles/app/role.yaml", &role("a {{ secrets.odd }}"));
    let mistake = compile(root, &source).map(drop).unwrap_err();
    assert!(mistake.contains("`odd` is several secrets, and no text"), "{mistake}");
}

/// A text made of a secret is found, or nothing is shown, also where its line holds other secrets.
#[test]
fn nothing_that_was_made_of_a_secret_is_shown() {
    let folder = project();
    let root = folder.path();
    let secrets = "long: canary-long-7Jq2\ntoken: seven-eleven\npin: \"48291357\"\nmode: fast\n\
                   weird: \"we\\\"i r\\\\d'%\"\n";
    let source = with_secrets(root, secrets);
    for (text, made) in [
        ("u={{ secrets.long }} p={{ secrets.token|replace('e',' ')|reverse }}", "n v l -n v s"),
        ("postgres://{{ secrets.long }}@{{ secrets.pin[:4] }}", "4829"),
        (
            "{{ 'one ' ~ secrets.long ~ ' only-then\\n' if secrets.mode == 'fast' }}rest",
            "only-then",
        ),
        ("{\"u\": \"{{ secrets.long }}\", \"w\": {{ secrets.weird|to_json }}}", "we\\\"i r\\\\d'%"),
    ] {
        write(root, "roles/app/role.yaml", &role(text));
        let manifest = compile(root, &source).unwrap();
        let content = content(&manifest, "/x");
        assert!(content.contains(made), "{content}");
        let shown = Scrubber::new(manifest.secrets.values()).scrub(&content);
        assert!(manifest.resources[0].is_untraceable || !shown.contains(made), "{shown}");
        let output = assert_cmd::Command::cargo_bin("infra")
            .unwrap()
            .args(["--project", root.to_str().unwrap(), "render", "web"])
            .args(["--identity", root.join("identity.txt").to_str().unwrap()])
            .output()
            .unwrap();
        let rendered = String::from_utf8(output.stdout).unwrap();
        assert!(rendered.contains("(secret)") && !rendered.contains(made), "{rendered}");
    }
}

/// A mistake quotes values: those that were made of secrets, and short ones, are not shown.
#[test]
fn mistakes_show_nothing_that_was_made_of_a_secret() {
    let folder = project();
    let root = folder.path();
    let source = with_secrets(root, "token: seven-eleven\nshort: q7\nmarks: \"?!\"\n");
    for expression in
        ["secrets.token | upper", "secrets.token[:5]", "secrets.short", "secrets.marks"]
    {
        for role in [
            "params: { n: { type: integer, default: \"{{ VALUE }}\" } }",
            "params: { e: { type: enum, values: [a], default: \"x{{ VALUE }}x\" } }",
            "resources: [ file: { path: /x, content: a, state: \"{{ VALUE }}\" } ]",
            "assert: [ { that: false, message: \"no {{ VALUE }}\" } ]",
        ] {
            write(root, "roles/app/role.yaml", &role.replace("VALUE", expression));
            let text = compile(root, &source).map(drop).unwrap_err();
            let is_shown = ["SEVEN", "seven", "q7", "?!"].iter().any(|part| text.contains(part));
            assert!(text.starts_with("error: ") && !is_shown, "{role} {expression}: {text}");
        }
    }
    // A mistake that has nothing to do with secrets is told as ever.
    write(
        root,
        "roles/app/role.yaml",
        "params: { a: { type: text, default: \"{{ secrets.token }}\" }, n: { type: integer, \
         default: nine } }",
    );
    let text = compile(root, &source).map(drop).unwrap_err();
    assert!(text.contains("nine"), "{text}");
}

/// Somebody who may read only the file of a group can use the secrets in the file.
#[test]
fn one_file_is_enough_where_it_holds_what_is_used() {
    let folder = project();
    let root = folder.path();
    encrypt(root, &keygen(root, "yours.txt"));
    encrypt_file(root, "blue", &keygen(root, "mine.txt"));
    write(root, "roles/app/role.yaml", &role("{{ secrets.smtp.host }}"));
    let mine = file(&root.join("mine.txt"));
    assert_eq!(content(&compile(root, &mine).unwrap(), "/x"), "from-blue\n");
    write(root, "roles/app/role.yaml", &role("{{ secrets.smtp.password | default('none') }}"));
    let mistake = compile(root, &mine).map(drop).unwrap_err();
    assert!(mistake.starts_with("error: cannot open `secrets/all.yaml.age`"), "{mistake}");
    assert!(mistake.contains("the secret `smtp.password` is in no file that is open"), "{mistake}");
    // The file of the group may say something else than that of all: it must be open.
    let mistake = compile(root, &file(&root.join("yours.txt"))).map(drop).unwrap_err();
    assert!(mistake.starts_with("error: cannot open `secrets/blue.yaml.age`"), "{mistake}");
    // Every usual identity is tried for each file.
    let usual = vec![root.join("mine.txt"), root.join("none.txt"), root.join("yours.txt")];
    let both = IdentitySource { usual, ..IdentitySource::default() };
    write(root, "roles/app/role.yaml", &role("{{ secrets.smtp.password }}"));
    assert!(content(&compile(root, &both).unwrap(), "/x").starts_with("canary-"));
}
