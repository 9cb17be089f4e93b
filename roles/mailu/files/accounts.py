"""Domains, accounts and aliases of Mailu, as the inventory declares them.

    accounts.py plan     says what an import would change; "nothing to import" if nothing
    accounts.py import   changes it
    accounts.py dns      prints the DNS records of the domains

`plan` and `import` read the declaration, as JSON, from their input. This runs in the container of
Mailu's administration, with the Python that is there.

Mailu's own `config-import` cannot be asked what it would change: it counts no changes of what is
there, adds to lists instead of replacing them, and would set each password again. So the
declaration is compared here, and Mailu gets only what differs. What is not declared stays.

A password is set when its account is made, and again only when another hash is declared than at the
last import: whoever changes a password in Mailu keeps it. What was declared is remembered as a hash
of that hash, beside Mailu's database, so that both come back together from a backup.
"""

import hashlib
import json
import os
import subprocess
import sys

RECORD = "/data/infra-imported.json"
NOTHING = "nothing to import"


def flask(*arguments, given=None):
    command = ["flask", "mailu", *arguments]
    return subprocess.run(command, input=given, capture_output=True, encoding="utf-8", check=False)


def export():
    """What Mailu has. It holds hashes of passwords, so none of it is ever shown."""
    done = flask("config-export", "--json", "--full", "--dns")
    if done.returncode != 0:
        sys.exit("Mailu does not export what it has: " + done.stderr.strip()[-400:])
    return json.loads(done.stdout[done.stdout.index("{"):])


def by(key, entries):
    return {entry[key].lower(): entry for entry in entries or []}


def lower_names(entries):
    return {name.lower(): entry for name, entry in entries.items()}


def digest(password_hash):
    return hashlib.sha256(password_hash.encode()).hexdigest()


def read_record():
    try:
        with open(RECORD, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def write_record(record):
    new = RECORD + ".new"
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(handle, "w", encoding="utf-8") as file:
        json.dump(record, file, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, RECORD)


def compare_domains(declared, there, said):
    changes = []
    for name, domain in lower_names(declared).items():
        old, change = there.get(name), {}
        if domain["comment"] and domain["comment"] != (old or {}).get("comment"):
            change["comment"] = domain["comment"]
        if old is None:
            said.append(f"domain {name}: create, with a DKIM key")
        elif change:
            said.append(f"domain {name}: comment")
        # Made once: another key would make the published record wrong.
        if old is None or not old.get("dkim_publickey"):
            change["dkim_key"] = "-generate-"
            if old is not None:
                said.append(f"domain {name}: make its DKIM key")
        if change:
            changes.append({"name": name, **change})
    return changes


def compare_accounts(declared, there, record, said):
    changes = []
    for email, account in lower_names(declared).items():
        old, password = there.get(email), account["password_hash"]
        wanted = {"quota_bytes": account["quota_bytes"], "global_admin": account["admin"]}
        if account["displayed_name"]:
            wanted["displayed_name"] = account["displayed_name"]
        if old is None:
            said.append(f"account {email}: create")
            changes.append({"email": email, "password": password, "enabled": True, **wanted})
            continue
        change = {field: value for field, value in wanted.items() if old.get(field) != value}
        for field, value in change.items():
            said.append(f"account {email}: {field} {old.get(field)} → {value}")
        known = record.get(email)
        if known is None:
            said.append(f"account {email}: is there already and keeps its password")
        elif known != digest(password):
            said.append(f"account {email}: another password")
            change["password"] = password
        if change:
            changes.append({"email": email, **change})
    return changes


def compare_aliases(declared, there, said):
    changes = []
    for email, alias in lower_names(declared).items():
        old, to = there.get(email), alias["to"]
        if old is None:
            said.append(f"alias {email}: create, to {', '.join(to)}")
            changes.append({"email": email, "destination": to})
        elif set(old.get("destination") or []) != set(to):
            before = ", ".join(old.get("destination") or []) or "nobody"
            said.append(f"alias {email}: to {before} → {', '.join(to)}")
            # Without the mark, Mailu would add to the list.
            changes.append({"email": email, "destination": ["-prune-", *to]})
    return changes


def compare(declared):
    """What to tell Mailu, what to say of it, and what to remember afterwards."""
    there, said = export(), []
    accounts = lower_names(declared["accounts"])
    users = by("email", there.get("user"))
    changes = {
        "domain": compare_domains(declared["domains"], by("name", there.get("domain")), said),
        "user": compare_accounts(accounts, users, read_record(), said),
        "alias": compare_aliases(declared["aliases"], by("email", there.get("alias")), said),
    }
    record = {email: digest(account["password_hash"]) for email, account in accounts.items()}
    return {name: section for name, section in changes.items() if section}, said, record


def config_import(changes, *more):
    """Mailu's own words on the changes, without the hashes that it may name in a complaint."""
    given = json.dumps(changes, ensure_ascii=False)
    done = flask("config-import", "--update", *more, given=given)
    words = " ".join((done.stdout + done.stderr).split())
    for account in changes.get("user", []):
        password = account.get("password", "")
        for form in (password, password.partition("}")[2]):
            words = words.replace(form, "(hidden)") if form else words
    return done.returncode == 0, words


def plan(declared):
    changes, said, _ = compare(declared)
    print("\n".join(said) or NOTHING)
    # Whether Mailu would take it, only Mailu knows.
    if changes:
        accepted, words = config_import(changes, "--dry-run")
        print(words if accepted else "Mailu refuses it: " + words)


def import_all(declared):
    changes, said, record = compare(declared)
    if changes:
        accepted, words = config_import(changes)
        if not accepted:
            sys.exit("Mailu refuses what is declared: " + words)
    write_record(record)
    print("\n".join(said) or NOTHING)


def dns():
    for name, domain in sorted(by("name", export().get("domain")).items()):
        print(f"; {name}")
        for record in ("dns_mx", "dns_spf", "dns_dkim", "dns_dmarc"):
            if domain.get(record):
                print(domain[record])


sys.stdout.reconfigure(encoding="utf-8")
if sys.argv[1] == "dns":
    dns()
else:
    {"plan": plan, "import": import_all}[sys.argv[1]](json.load(sys.stdin))
