//! How captured tables hang together: what a snapshot knows of keys, references and defaults.

use std::path::Path;

use strongroom::base::record::OnDelete;
use strongroom::engine::postgres::layout::{Qualified, Table};
use strongroom::engine::postgres::records::schema;

use super::{capture, tables};
use crate::support::postgres::cluster;
use crate::support::vaults::Lab;

fn everything() -> Vec<Table> {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), cluster().database());
    cluster.load(&name, &Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/postgres/everything.sql"));
    tables(&lab, &capture(&lab, &cluster.url(&name)))
}

fn one<'t>(tables: &'t [Table], name: &str) -> &'t Table {
    tables.iter().find(|table| table.name.shown() == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn a_snapshot_knows_keys_references_defaults_and_what_lies_under_domains() {
    let tables = everything();
    let users = one(&tables, "app.users");
    let shape = users.shape.as_ref().unwrap();
    assert_eq!(shape.key, ["id"]);
    assert_eq!(shape.unique, [["email"]]);
    assert_eq!(shape.required.iter().collect::<Vec<_>>(), ["id", "name"]);
    assert_eq!((shape.defaults["id"].as_str(), shape.defaults["name"].as_str()), ("the next number", "'none'::text"));
    assert_eq!(shape.ignores_case.iter().collect::<Vec<_>>(), ["email"]);
    assert_eq!(shape.bases["name"], "text");
    let record = schema::table(&users.name, &users.columns, users.shape.as_ref());
    assert_eq!((record.name.as_str(), &record.key[..]), ("app.users", &[0][..]));
    assert_eq!(record.columns[2].kind, "text");
    let base = one(&tables, "app.base").shape.as_ref().unwrap();
    assert_eq!(base.triggers, ["touch"], "the other one is disabled");
    assert!(base.defaults["id"].starts_with("nextval('app.base_id_seq'"), "{base:?}");
    let keyless = one(&tables, "app.keyless");
    assert_eq!(schema::table(&keyless.name, &keyless.columns, keyless.shape.as_ref()).key, [0, 1]);
}

#[test]
fn references_name_the_table_at_the_top_and_the_columns_in_their_order() {
    let tables = everything();
    let posts = one(&tables, "app.posts");
    let [to_users, to_itself] = &schema::table(&posts.name, &posts.columns, posts.shape.as_ref()).references[..] else {
        panic!("{:?}", posts.shape)
    };
    let (to_users, to_itself) = if to_users.to == "app.users" { (to_users, to_itself) } else { (to_itself, to_users) };
    assert_eq!((to_users.on_delete, &to_users.to_columns[..]), (OnDelete::Cascade, &["id".to_owned()][..]));
    assert_eq!(
        (to_itself.to.as_str(), &to_itself.to_columns[..]),
        ("app.posts", &["b".to_owned(), "a".to_owned()][..])
    );
    let names: Vec<&str> = to_itself.columns.iter().map(|at| posts.columns[*at].name.as_str()).collect();
    assert_eq!((to_itself.on_delete, names), (OnDelete::Restrict, vec!["parent_b", "parent_a"]));
    let references = &one(&tables, "app.of_measures").shape.as_ref().unwrap().references;
    assert_eq!(references.len(), 1, "one for each partition is too many: {references:?}");
    assert_eq!(references[0].to, Qualified { schema: "app".into(), name: "measures".into() });
    for partition in ["app.measures_20_1", "app.measures_20_n", "app.measures_rest"] {
        let shape = one(&tables, partition).shape.as_ref().unwrap();
        assert_eq!(shape.key, ["id", "at"], "{partition}");
    }
}
