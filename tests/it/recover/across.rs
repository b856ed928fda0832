//! Records whose rows lie in several databases, tied by relations of the configuration.

use super::*;

mod broken_off;

const SHOP: &str = "
    CREATE TABLE projects(id INTEGER PRIMARY KEY, name TEXT NOT NULL, customer INTEGER NOT NULL);
    CREATE TABLE documents(id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
        title TEXT);";

/// Projects are text here, as they are where another team keeps them.
const CRM: &str = "
    CREATE TABLE customers(id TEXT PRIMARY KEY, name TEXT);
    CREATE TABLE contracts(id INTEGER PRIMARY KEY, project_ref TEXT NOT NULL, name TEXT);
    CREATE TABLE notes(id INTEGER PRIMARY KEY, contract_id INTEGER REFERENCES contracts(id) ON DELETE CASCADE, text TEXT);
    CREATE TABLE leads(id INTEGER PRIMARY KEY, project_ref TEXT);
    CREATE TABLE labels(id INTEGER PRIMARY KEY, code TEXT UNIQUE, project_ref TEXT);
    CREATE TABLE labelled(id INTEGER PRIMARY KEY, code TEXT REFERENCES labels(code));";

const SOURCES: &str = "app = 'shop'
    [source.db]\nkind = 'sqlite'\npath = 'app/shop.db'
    [source.crm]\nkind = 'sqlite'\npath = 'app/crm.db'";

const RECORDS: &str = "
    [source.documents]\nkind = 'files'\npath = 'app/documents'
    [source.papers]\nkind = 'files'\npath = 'app/papers'
    [entity.project]\nsource = 'db'\ntable = 'projects'\nfiles = [{ source = 'documents', path = '{id}/**' }]
    [entity.contract]\nsource = 'crm'\ntable = 'contracts'\nfiles = [{ source = 'papers', path = '{id}.txt' }]
    [[relation]]\nfrom = 'crm.contracts.project_ref'\nto = 'db.projects.id'
    [[relation]]\nfrom = 'crm.leads.project_ref'\nto = 'db.projects.id'\non_delete = 'set-null'
    [[relation]]\nfrom = 'crm.labels.project_ref'\nto = 'db.projects.id'
    [[relation]]\nfrom = 'db.projects.customer'\nto = 'crm.customers.id'\non_delete = 'restrict'";

/// An app with nine projects in one database, their contracts and customers in another, and a snapshot of both.
fn firm() -> Home {
    let home = Home::new();
    home.write("strongroom.toml", format!("{SOURCES}{RECORDS}"));
    let (mut shop, mut crm) = (SHOP.to_owned(), CRM.to_owned());
    for project in 1..10 {
        shop += &format!("INSERT INTO projects VALUES({project}, 'project {project}', {});", 100 + project);
        crm += &format!("INSERT INTO customers VALUES('{}', 'customer {project}');", 100 + project);
        crm += &format!("INSERT INTO leads VALUES({project}, '{project}');");
        crm += &format!("INSERT INTO labels VALUES({project}, 'code {project}', '{project}');");
        for number in 0..3 {
            let id = project * 10 + number;
            shop += &format!("INSERT INTO documents VALUES({id}, {project}, 'document {id}');");
            crm += &format!("INSERT INTO contracts VALUES({id}, '{project}', 'contract {id}');");
            crm += &format!("INSERT INTO notes VALUES({id}, {id}, 'note {id}');");
            home.write(&format!("app/documents/{project}/{id}.txt"), format!("document {id}\n").repeat(20));
            home.write(&format!("app/papers/{id}.txt"), format!("paper {id}\n").repeat(20));
        }
    }
    // One of each way that SQLite keeps its promises.
    run(&home.path("app/shop.db"), &format!("PRAGMA journal_mode = WAL; {shop}"));
    run(&home.path("app/crm.db"), &crm);
    home.ok(&["backup"]);
    home
}

/// Every row of every table of a database.
pub fn rows(file: &Path) -> Vec<String> {
    let connection = Connection::open(file).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    let mut names = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut lines = Vec::new();
    for table in names {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1")).unwrap();
        let width = statement.column_count();
        let read = |row: &rusqlite::Row<'_>| (0..width).map(|at| row.get::<_, Cell>(at)).collect::<Result<Vec<_>, _>>();
        let rows = statement.query_map([], read).unwrap();
        lines.extend(rows.map(|row| format!("{table} {:?}", row.unwrap())));
    }
    lines
}

fn state(home: &Home) -> Vec<String> {
    let mut lines = [rows(&home.path("app/shop.db")), rows(&home.path("app/crm.db"))].concat();
    lines.extend(files(&home.path("app/documents")));
    lines.extend(files(&home.path("app/papers")));
    lines
}

/// Everything of project 7 goes, as its apps would have it.
fn lose(home: &Home) {
    run(&home.path("app/shop.db"), "DELETE FROM projects WHERE id = 7");
    let crm = "DELETE FROM contracts WHERE project_ref = '7'; DELETE FROM customers WHERE id = '107';
        UPDATE leads SET project_ref = NULL WHERE project_ref = '7'; DELETE FROM labels WHERE project_ref = '7'";
    run(&home.path("app/crm.db"), crm);
    fs::remove_dir_all(home.path("app/documents/7")).unwrap();
    (70..73).for_each(|id| fs::remove_file(home.path(&format!("app/papers/{id}.txt"))).unwrap());
}

const RECOVER: [&str; 4] = ["recover", "latest", "project", "7"];

#[test]
fn a_record_comes_back_from_every_database_that_relations_tie_to_it_and_undo_takes_all_of_it_back() {
    let home = firm();
    let whole = state(&home);
    lose(&home);
    let harmed = state(&home);
    let dry = home.ok(&[&RECOVER[..], &["--dry-run"]].concat()).out;
    assert!(dry.contains("app/shop.db\n and ") && dry.contains("app/crm.db (crm)\n"), "{dry}");
    assert!(dry.contains("crm.contracts") && dry.contains("crm.customers '107'"), "{dry}");
    assert_eq!(state(&home), harmed);
    let plan = &home.json(&[&RECOVER[..], &["--dry-run"]].concat())["plan"];
    assert_eq!(plan["others"][0]["source"], "crm", "{plan}");
    home.ok(&RECOVER);
    assert_eq!(state(&home), whole);
    assert!(home.json(&RECOVER)["report"]["action"].is_null());
    home.ok(&["undo"]);
    assert_eq!(state(&home), harmed);
    let list = home.json(&["undo", "--list"])["actions"].as_array().unwrap().clone();
    assert_eq!(list[0]["recovered"]["others"][0]["source"], "crm", "{}", list[0]);
    home.ok(&["undo", list[1]["id"].as_str().unwrap()]);
    assert_eq!(state(&home), whole);
    home.ok(&["undo"]);
    home.ok(&["recover", "latest", "--missing", "project"]);
    assert_eq!(state(&home), whole);
}

#[test]
fn a_record_of_the_other_database_brings_back_what_it_needs_of_this_one_and_no_more() {
    let home = firm();
    lose(&home);
    let plan = home.json(&["recover", "latest", "contract", "70"])["plan"].clone();
    let came: Vec<(String, i64)> = plan["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            let table = &plan["tables"][step["table"].as_u64().unwrap() as usize]["name"];
            let key = &step["key"][0];
            (table.as_str().unwrap().to_owned(), key.as_i64().unwrap_or_else(|| key.as_str().unwrap().parse().unwrap()))
        })
        .collect();
    let expected = [("customers", 107), ("db.projects", 7), ("contracts", 70), ("notes", 70)];
    let expected: std::collections::BTreeSet<(String, i64)> =
        expected.into_iter().map(|(table, key)| (table.to_owned(), key)).collect();
    assert_eq!(came.into_iter().collect::<std::collections::BTreeSet<_>>(), expected);
    assert!(home.path("app/papers/70.txt").exists() && !home.path("app/documents/7").exists());
    // What is there and the same stays; the rest of the project comes when it is asked for.
    home.ok(&RECOVER);
    assert!(home.path("app/documents/7/70.txt").exists());
}

#[test]
fn what_triggers_of_another_database_do_is_taken_back_too() {
    let home = firm();
    let told = "CREATE TABLE audit(id INTEGER PRIMARY KEY, what TEXT);
        CREATE TRIGGER told AFTER INSERT ON contracts BEGIN INSERT INTO audit(what) VALUES('made ' || NEW.id); END";
    run(&home.path("app/crm.db"), told);
    home.ok(&["backup"]);
    lose(&home);
    let harmed = state(&home);
    home.ok(&[&RECOVER[..], &["--triggers", "on"]].concat());
    let made = || rows(&home.path("app/crm.db")).iter().filter(|row| row.contains("made 7")).count();
    assert_eq!(made(), 3);
    home.ok(&["undo"]);
    assert_eq!(state(&home), harmed);
}

#[test]
fn a_plan_of_several_databases_is_done_later_unless_one_of_them_moved() {
    let home = firm();
    let whole = state(&home);
    lose(&home);
    home.ok(&[&RECOVER[..], &["--plan-out", "plan.json"]].concat());
    run(&home.path("app/crm.db"), "INSERT INTO contracts VALUES(70, '1', 'newer')");
    let error = home.fails(1, &["recover", "--plan", "plan.json"]);
    assert!(error.contains("live data has changed since the plan was made: crm.contracts 70"), "{error}");
    run(&home.path("app/crm.db"), "DELETE FROM contracts WHERE id = 70");
    home.ok(&["recover", "--plan", "plan.json"]);
    assert_eq!(state(&home), whole);
}

#[test]
fn a_record_whose_key_was_used_again_gets_a_new_one_that_the_other_database_refers_to() {
    let home = firm();
    home.write(
        "strongroom.toml",
        format!("{SOURCES}{RECORDS}").replace("table = 'projects'", "table = 'projects'\nimmutable = ['name']"),
    );
    lose(&home);
    run(&home.path("app/shop.db"), "INSERT INTO projects VALUES(7, 'another', 101)");
    let harmed = state(&home);
    assert!(home.fails(1, &RECOVER).contains("projects 7 is another record now"));
    let remapped = [&RECOVER[..], &["--remap-keys"]].concat();
    home.ok(&remapped);
    let now = state(&home);
    let refers = |table: &str| now.iter().filter(|row| row.starts_with(table) && row.contains("Text(\"10\")")).count();
    assert_eq!((refers("contracts"), refers("labels"), refers("leads")), (3, 1, 1), "{now:#?}");
    let again = home.json(&remapped);
    assert!(again["report"]["action"].is_null(), "{again}");
    let differ = again["plan"]["steps"].as_array().unwrap().iter().filter(|step| step.get("differs").is_some());
    assert_eq!(differ.count(), 0, "{again}");
    home.ok(&["undo"]);
    assert_eq!(state(&home), harmed);
}

#[test]
fn rows_of_other_sources_stay_out_when_they_are_told_to_and_the_plan_says_so() {
    let home = firm();
    fs::copy(home.path("app/shop.db"), home.path("other.db")).unwrap();
    run(&home.path("other.db"), "DELETE FROM projects");
    lose(&home);
    let crm = rows(&home.path("app/crm.db"));
    for option in [&["--alone"][..], &["--into", "other.db"]] {
        let plan = home.json(&[&RECOVER[..], option].concat())["plan"].clone();
        let notes = plan["notes"].to_string();
        assert!(notes.contains("rows of crm, which relations tie to db, stay out: --"), "{notes}");
        assert!(plan.get("others").is_none() && !plan["tables"].to_string().contains("crm."), "{plan}");
        assert_eq!(rows(&home.path("app/crm.db")), crm);
    }
    // What is not written at one moment cannot do without the way back.
    home.ok(&["undo"]);
    home.ok(&["undo", "--yes"]);
    let harmed = state(&home);
    let error = home.fails(2, &[&RECOVER[..], &["--no-safety"]].concat());
    assert!(error.contains("rows of several databases are written, which takes a safety snapshot"), "{error}");
    assert_eq!(state(&home), harmed);
}

#[test]
fn what_is_missing_of_another_source_is_told_by_name_before_anything_is_touched() {
    let home = firm();
    lose(&home);
    let harmed = state(&home);
    let error = home.fails(1, &[&RECOVER[..], &["--limit", "8"]].concat());
    assert!(error.contains("more than 8 rows would come back"), "{error}");
    fs::rename(home.path("app/crm.db"), home.path("app/away.db")).unwrap();
    let error = home.fails(1, &RECOVER);
    assert!(error.contains("crm, which a relation ties to it:") && error.contains("--alone"), "{error}");
    fs::rename(home.path("app/away.db"), home.path("app/crm.db")).unwrap();
    assert_eq!(state(&home), harmed);
    // A snapshot that has only the one.
    home.ok(&["undo", "--list"]);
    let first = home.json(&["snapshots"])["snapshots"][0]["id"].as_str().unwrap().to_owned();
    home.ok(&["recover", &first, "project", "7", "--alone"]);
    home.ok(&["backup", "db", "documents"]);
    run(&home.path("app/shop.db"), "DELETE FROM documents WHERE id = 70");
    let plan = home.json(&["recover", "latest", "project", "7"])["plan"].clone();
    let notes = plan["notes"].to_string();
    assert!(notes.contains("a relation names table crm.contracts, which the snapshot does not have"), "{notes}");
    assert_eq!(rows(&home.path("app/shop.db")).iter().filter(|row| row.contains("document 7")).count(), 3);
}

#[test]
fn a_relation_names_sources_that_there_are() {
    let home = firm();
    let with = |more: &str| home.write("strongroom.toml", format!("{SOURCES}{RECORDS}{more}"));
    with("\n[[relation]]\nfrom = 'db.documents.title'\nto = 'erp.papers.title'");
    assert!(home.fails(2, &RECOVER).contains("relation: there is no source erp"));
    with("\n[[relation]]\nfrom = 'db.documents.title'\nto = 'crm.title'");
    let error = home.fails(2, &RECOVER);
    assert!(error.contains("to: \"crm.title\" is not a column of a table of a source"), "{error}");
    let line = SOURCES.lines().count() + RECORDS.lines().count() + 2;
    assert!(error.contains(&format!("line {line}:")), "{error}");
}

#[test]
fn what_is_written_down_is_a_file_for_each_table_of_every_source() {
    let home = firm();
    home.ok(&[&RECOVER[..], &["--export", "csv", "csv"]].concat());
    let csv = fs::read_to_string(home.path("csv/crm.contracts.csv")).unwrap();
    assert!(csv.starts_with("id,project_ref,name\n") && csv.contains("\n70,7,contract 70\n"), "{csv}");
    assert!(home.path("csv/projects.csv").exists() && home.path("csv/files/papers/70.txt").exists());
    home.ok(&[&RECOVER[..], &["--export", "sql", "sql"]].concat());
    run(&home.path("fresh.db"), CRM);
    run(&home.path("fresh.db"), &fs::read_to_string(home.path("sql/crm.records.sql")).unwrap());
    assert_eq!(rows(&home.path("fresh.db")).iter().filter(|row| row.starts_with("contracts")).count(), 3);
    assert!(!fs::read_to_string(home.path("sql/records.sql")).unwrap().contains("contract"));
}
