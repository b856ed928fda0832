use std::fs;

use super::*;
use crate::engine::sqlite::HEADER;
use crate::source::SOURCES;

fn plant(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn database() -> Vec<u8> {
    let mut bytes = HEADER.to_vec();
    bytes.resize(4096, 0);
    bytes
}

fn found(folder: &tempfile::TempDir) -> Discovery {
    discover(folder.path(), Some("/backups/app"), &Control::default()).unwrap()
}

#[test]
fn databases_are_told_by_their_first_bytes_and_documents_by_what_folders_hold() {
    let database = database();
    let folder = plant(&[
        ("src/main.py", b"print()"),
        ("src/logo.png", b"x"),
        ("src/a.py", b"x"),
        ("data/app.db", &database),
        ("data/app.db-wal", b"x"),
        ("data/no.db", b"not a database"),
        ("data/named-oddly", &database),
        ("files/store/documents/1/contract.pdf", b"x"),
        ("files/store/documents/2/scan.jpg", b"x"),
        ("uploads/whatever", b"x"),
        ("scans/2026/a.tif", b"x"),
        ("node_modules/x/y.pdf", b"x"),
        (".git/z.pdf", b"x"),
    ]);
    let findings = survey(folder.path(), &Control::default()).unwrap();
    assert_eq!(findings.databases, [Path::new("data/app.db"), Path::new("data/named-oddly")]);
    assert_eq!(findings.documents, ["data", "files", "scans", "uploads"].map(PathBuf::from));
}

#[test]
fn environment_and_compose_files_are_named_and_engines_without_a_source_are_said() {
    let folder = plant(&[
        (".env", b"A=1"),
        (".env.production", b"A=1"),
        (".env.example", b"A="),
        ("docker/compose.yml", b"services:\n  db:\n    image: \"pgvector/pgvector:pg16\"\n  web:\n    image: nginx\n"),
        ("docker/docker-compose.override.yaml", b"services: {}\n"),
    ]);
    let discovery = found(&folder);
    assert_eq!(discovery.sources, ["env", "env_production", "compose", "docker-compose.override"]);
    assert_eq!(discovery.missing.len(), 1);
    assert!(discovery.missing[0].starts_with("docker/compose.yml runs pgvector/pgvector:pg16"));
}

#[test]
fn folders_named_for_data_become_sources_near_the_top_and_not_in_source_text() {
    let folder = plant(&[
        ("docs/guide.md", b"x"),
        ("storage/blob", b"x"),
        ("public/uploads/1", b"x"),
        ("server/data/1", b"x"),
        ("src/data/mod.rs", b"x"),
        ("a/b/files/c.rs", b"x"),
    ]);
    let findings = survey(folder.path(), &Control::default()).unwrap();
    assert_eq!(findings.documents, ["docs", "public/uploads", "server/data", "storage"].map(PathBuf::from));
}

#[test]
fn engines_are_named_however_compose_and_environment_files_spell_them_and_without_what_they_say() {
    let compose = br#"services: {db: {image: "mysql:8"}, cache: {"image": 'redis', ports: []}}
  # image: mongo:7
  other: { image: docker.io/bitnami/mariadb:11 , my-image: couchdb }
  web: { image: nginx }
  vars:
    image: ${IMAGE:-cassandra:5}
"#;
    let environment: &[u8] = b"MYSQL_URL=mysql://u:secret@h/d\nREDIS_URL=redis://h\nMONGO_URI=mongodb+srv://h\n\
        DB_CONNECTION=mysql\nCACHE=rediss://h\nREDIS_TIMEOUT=5\nMONGO_HOST=mongo\nSEARCH_URL=http://elsewhere\n";
    let folder = plant(&[("compose.yaml", compose), (".env", environment), (".env.local", b"MYSQL_URL=mysql://x\n")]);
    let missing = found(&folder).missing;
    let named: Vec<&str> = missing.iter().filter_map(|text| text.split(',').next()).collect();
    let expected = [
        ".env names MYSQL_URL",
        ".env names REDIS_URL",
        ".env names MONGO_URI",
        ".env names DB_CONNECTION",
        ".env names CACHE",
        ".env names MONGO_HOST",
        "compose.yaml runs mysql:8",
        "compose.yaml runs redis",
        "compose.yaml runs docker.io/bitnami/mariadb:11",
        "compose.yaml runs ${IMAGE:-cassandra:5}",
    ];
    assert_eq!(named, expected, "{missing:?}");
    assert!(!missing.iter().any(|text| text.contains("secret")), "{missing:?}");
}

#[test]
fn a_database_of_sqlite_that_lies_elsewhere_is_told_and_so_is_a_link_to_one() {
    let elsewhere = plant(&[("app.db", b"SQLite format 3\0")]);
    let file = elsewhere.path().join("app.db");
    let shown = file.display();
    let lines = format!(
        "URL=sqlite:///{shown}\nOTHER='sqlite3:{shown}?mode=ro'\nPRISMA=file:{shown}\nDB_PATH={shown}\nGONE=/x/y.db\n"
    );
    let folder = plant(&[(".env", lines.as_bytes()), (".env.own", b"")]);
    let own = format!("OWN=sqlite:///{}\n", folder.path().join(".env").display());
    std::fs::write(folder.path().join(".env.own"), own).unwrap();
    std::os::unix::fs::symlink(&file, folder.path().join("link.db")).unwrap();
    let discovery = found(&folder);
    let named: Vec<&str> = discovery.missing.iter().filter_map(|text| text.split(':').next()).collect();
    assert_eq!(
        named,
        ["URL", "OTHER", "PRISMA", "DB_PATH"].map(|name| format!(".env names {name}")),
        "{:?}",
        discovery.missing
    );
    let words: Vec<String> = discovery.left_out.iter().map(LeftOut::words).collect();
    assert_eq!(words, [format!("link.db  a link to {shown}")]);
}

#[test]
fn files_that_are_called_like_a_database_and_more_are_captured() {
    let mut database = b"SQLite format 3\0".to_vec();
    database.resize(4096, 0);
    let folder = plant(&[
        ("uploads/a.pdf", b"x"),
        ("uploads/b.pdf", b"x"),
        ("uploads/shop.db", &database),
        ("uploads/shop.db-notes.pdf", b"x"),
    ]);
    let text = found(&folder).text;
    let rules = "exclude = [\"/shop.db\", \"/shop.db-wal\", \"/shop.db-shm\", \"/shop.db-journal\"]";
    assert!(text.contains(rules), "{text}");
}

#[test]
fn what_is_written_is_a_configuration_that_can_be_read() {
    let database = database();
    let folder = plant(&[
        ("odd \"name\" ü/documents/a.pdf", b"x"),
        ("more/documents/b.pdf", b"x"),
        ("more/[x]/uploads/app.db", &database),
        ("more/[x]/uploads/c.pdf", b"x"),
        ("with ${PWD}/uploads/d.pdf", b"x"),
        ("with\nlines/uploads/d.pdf", b"x"),
        ("d.env", b"x"),
    ]);
    let discovery = found(&folder);
    let file = folder.path().join("strongroom.toml");
    let config = crate::ops::config::parse(&discovery.text, &file, &|_| None)
        .unwrap_or_else(|error| panic!("{error}\n{}", discovery.text));
    assert_eq!(config.vault.as_deref(), Some("/backups/app"));
    let names: Vec<String> = config.sources.iter().map(|planned| planned.name.to_string()).collect();
    assert_eq!(names, discovery.sources, "{}", discovery.text);
    assert!(names.contains(&"documents".to_owned()) && names.contains(&"d_env".to_owned()), "{names:?}");
    // A name that would be taken for a variable is said instead of written.
    assert!(discovery.missing.iter().any(|missing| missing.contains("${PWD}")), "{:?}", discovery.missing);
    let has_sqlite = SOURCES.iter().any(|kind| kind.name == "sqlite");
    assert_eq!(discovery.text.contains("\nkind = \"sqlite\""), has_sqlite, "{}", discovery.text);
    assert!(has_sqlite || discovery.text.contains("# kind = \"sqlite\""), "{}", discovery.text);
}

#[test]
fn a_database_that_an_environment_file_names_becomes_a_source_and_its_password_stays_there() {
    let folder = plant(&[
        (".env", b"A=1\nexport DATABASE_URL=\"postgresql+asyncpg://me:secret@db/app\"\n# OLD_URL=postgres://x\nREDIS=redis://r\n"),
        (".env.production", b"DATABASE_URL=postgres://me:secret@prod/app\nREPORTS_URL=postgres://r/reports\n"),
    ]);
    let discovery = found(&folder);
    assert_eq!(discovery.sources, ["database", "reports", "env", "env_production"]);
    assert!(discovery.text.contains("url = \"${DATABASE_URL}\"") && !discovery.text.contains("secret"));
    let variable = |name: &str| (name.ends_with("_URL")).then(|| "postgres://me@db/app".to_owned());
    let file = folder.path().join("strongroom.toml");
    let config = crate::ops::config::parse(&discovery.text, &file, &variable).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.sources[0].source.kind(), "postgres");
}

#[test]
fn a_folder_of_nothing_gives_an_example_and_one_that_is_not_there_an_error() {
    let folder = plant(&[("readme.md", b"x")]);
    let discovery = found(&folder);
    assert!(discovery.sources.is_empty() && discovery.text.contains("# [source.data]"));
    let error = discover(&folder.path().join("nowhere"), None, &Control::default()).unwrap_err();
    assert!(error.to_string().starts_with("cannot look into "), "{error}");
}
