//! What a manifest says of a database, and the alarm when many rows are gone.

use strongroom::vault::select::{self, Filter};

use super::{ask, backup, capture, grow, open, some_rows, source_of};
use crate::support::vaults::Lab;

#[test]
fn a_manifest_says_what_the_database_is() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    some_rows(&live, 300);
    let sql =
        "PRAGMA user_version = 9; CREATE TABLE \"odd \"\" name\" (a); INSERT INTO \"odd \"\" name\" VALUES (1), (2);
               CREATE VIRTUAL TABLE search USING fts5(a); CREATE TABLE empty (a)";
    open(&live).execute_batch(sql).unwrap();
    let manifest = capture(&lab, &live);
    let database = &manifest.sources[0].databases[0];
    assert!(database.path.is_root() && database.engine == "sqlite" && database.damage.is_none());
    let rows = |table: &str| database.rows.get(table).copied();
    assert_eq!((rows("t"), rows("odd \" name"), rows("empty"), rows("search")), (Some(300), Some(2), Some(0), None));
    for (fact, value) in
        [("page size", "4096"), ("journal mode", "delete"), ("user version", "9"), ("encoding", "UTF-8")]
    {
        assert_eq!(database.facts[fact], value);
    }
    let pages: u64 = database.facts["page count"].parse().unwrap();
    assert_eq!(pages * 4096, manifest.bytes);
}

#[test]
fn the_tables_of_migration_tools_are_known() {
    let tools = [
        ("alembic", "8f3c2a91", "CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('8f3c2a91')"),
        (
            "django",
            "shop.0002_more",
            "CREATE TABLE django_migrations (id INTEGER PRIMARY KEY, app TEXT, name TEXT, applied TEXT);
             INSERT INTO django_migrations VALUES (1, 'shop', '0001_initial', ''), (2, 'shop', '0002_more', '')",
        ),
        (
            "rails",
            "20260318080910",
            "CREATE TABLE schema_migrations (version TEXT); CREATE TABLE ar_internal_metadata (key TEXT, value TEXT);
             INSERT INTO schema_migrations VALUES ('20260318080910'), ('20250101000000')",
        ),
        (
            "schema_migrations",
            "12",
            "CREATE TABLE schema_migrations (version INTEGER, dirty BOOL); INSERT INTO schema_migrations VALUES (12, 0)",
        ),
        (
            "prisma",
            "2_second",
            "CREATE TABLE _prisma_migrations (id TEXT, migration_name TEXT, finished_at DATETIME, rolled_back_at DATETIME);
             INSERT INTO _prisma_migrations VALUES ('a', '1_first', 100, NULL), ('b', '2_second', 200, NULL), ('c', '3_failed', NULL, NULL)",
        ),
        (
            "flyway",
            "3.1",
            "CREATE TABLE flyway_schema_history (installed_rank INT, version TEXT, description TEXT, success BOOL);
             INSERT INTO flyway_schema_history VALUES (1, '3', 'a', 1), (2, '3.1', 'b', 1), (3, '4', 'c', 0)",
        ),
        (
            "knex",
            "2_b.js",
            "CREATE TABLE knex_migrations (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO knex_migrations (name) VALUES ('1_a.js'), ('2_b.js')",
        ),
        (
            "sqlx",
            "20260101",
            "CREATE TABLE _sqlx_migrations (version BIGINT, success BOOL); INSERT INTO _sqlx_migrations VALUES (20260101, 1), (20260202, 0)",
        ),
        (
            "diesel",
            "2026-02",
            "CREATE TABLE __diesel_schema_migrations (version TEXT, run_on TEXT); INSERT INTO __diesel_schema_migrations VALUES ('2026-01', ''), ('2026-02', '')",
        ),
    ];
    for (tool, id, sql) in tools {
        let lab = Lab::in_memory();
        let live = lab.path("live.db");
        open(&live).execute_batch(sql).unwrap();
        let manifest = capture(&lab, &live);
        let revision =
            manifest.sources[0].databases[0].revision.clone().unwrap_or_else(|| panic!("{tool} is not known"));
        assert_eq!((revision.tool.as_str(), revision.id.as_str()), (tool, id));
    }
}

#[test]
fn a_revision_selects_the_newest_snapshot_that_has_it() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    open(&live)
        .execute_batch(
            "CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('old0001')",
        )
        .unwrap();
    let migrate = |id: &str| open(&live).execute("UPDATE alembic_version SET version_num = ?", [id]).unwrap();
    capture(&lab, &live);
    let wanted = capture(&lab, &live);
    migrate("new0002");
    capture(&lab, &live);
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    let snapshots = unlocked.snapshots().unwrap().readable;
    let now = jiff::Zoned::now();
    let select = |text: &str| {
        let found = select::select(&snapshots, &text.parse().unwrap(), &Filter::default(), &now, select::whole);
        found.map(|found| found.snapshot.manifest.id)
    };
    assert_eq!(select("revision:old0001").unwrap(), wanted.id);
    assert_eq!(select("revision:old0").unwrap(), wanted.id);
    assert!(select("revision:old").is_err() && select("revision:none").is_err());
}

#[test]
fn a_mass_deletion_is_an_alarm_and_the_snapshot_before_it_is_marked_to_be_kept() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    some_rows(&live, 1000);
    open(&live).execute_batch("CREATE TABLE few (a); INSERT INTO few VALUES (1), (2), (3)").unwrap();
    let first = capture(&lab, &live);
    open(&live).execute_batch("DELETE FROM t WHERE id <= 200; DELETE FROM few").unwrap();
    assert_eq!(capture(&lab, &live).alarms, []);
    open(&live).execute_batch("DELETE FROM t WHERE id <= 600").unwrap();
    let third = capture(&lab, &live);
    let [alarm] = &third.alarms[..] else { panic!("{:?}", third.alarms) };
    assert_eq!((alarm.table.as_deref(), alarm.before, alarm.after), (Some("t"), 800, 400));
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    let snapshots = unlocked.snapshots().unwrap().readable;
    assert_eq!(alarm.kept.as_deref(), Some(snapshots[1].key.as_str()));
    assert_eq!(alarm.snapshot, Some(snapshots[1].manifest.id));
    assert_ne!(snapshots[1].manifest.id, first.id);
    open(&live).execute_batch("DROP TABLE t").unwrap();
    assert_eq!(capture(&lab, &live).alarms.len(), 1);
}

#[test]
fn the_share_of_lost_rows_that_is_an_alarm_can_be_set() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    some_rows(&live, 1000);
    let vault = lab.vault(&lab.store, &lab.folders);
    let take = |rows_lost| {
        let request = strongroom::ops::backup::Request {
            sources: vec![source_of(&live, "")],
            alarms: Some(strongroom::ops::backup::Shares { rows_lost, ..Default::default() }),
            ..crate::support::vaults::request(&live, false)
        };
        strongroom::ops::backup::backup(&vault, &request).unwrap().manifest
    };
    take(5);
    open(&live).execute_batch("DELETE FROM t WHERE id <= 60").unwrap();
    assert_eq!(take(5).alarms.len(), 1);
    grow(&open(&live), 60);
    take(50);
    open(&live).execute_batch("DELETE FROM t WHERE id <= 400").unwrap();
    assert_eq!(take(50).alarms, []);
    assert_eq!(ask(&open(&live), "SELECT count(*) FROM t"), ["Integer(660)"]);
    drop(backup(&lab, source_of(&live, "")));
}
