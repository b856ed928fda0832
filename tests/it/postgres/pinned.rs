//! What the owner of a database sets it to decides nothing: whoever is connected runs no function of the owner's, and reads and
//! writes every value as it is.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::postgres::{Cluster, PASSWORD, cluster};
use crate::support::program::Home;

/// What psql answers whatever the database is set to.
fn plainly(cluster: &Cluster, database: &str, sql: &str) -> String {
    let mut psql = cluster.command("psql", database);
    let options = "-c search_path=pg_catalog -c statement_timeout=0 -c lock_timeout=0 -c default_transaction_read_only=off \
        -c client_encoding=UTF8 -c exit_on_error=off -c default_transaction_isolation=read\\ committed -c array_nulls=on \
        -c quote_all_identifiers=off -c IntervalStyle=iso_8601 -c DateStyle=ISO -c TimeZone=UTC -c xmloption=content \
        -c bytea_output=hex -c extra_float_digits=3 -c lc_monetary=C";
    psql.env("PGOPTIONS", options).args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql]);
    let done = psql.output().unwrap();
    assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim_end().to_owned()
}

/// Stands before a server as a pooler that takes no options. Tells how many connections it has turned away.
fn pooler(cluster: &Cluster) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, server, refused) =
        (listener.local_addr().unwrap().port(), cluster.port(), Arc::<AtomicUsize>::default());
    let count = refused.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), count) = (client, count.clone()) else { return };
            std::thread::spawn(move || passed_on(client, server, &count));
        }
    });
    (port, refused)
}

/// A message without a kind: its length, which counts itself, and the rest.
fn first_message(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    client.read_exact(&mut length).ok()?;
    let mut message = vec![0; u32::from_be_bytes(length) as usize - 4];
    client.read_exact(&mut message).ok()?;
    Some([&length[..], &message].concat())
}

fn passed_on(mut client: TcpStream, server: u16, refused: &AtomicUsize) -> Option<()> {
    let mut message = first_message(&mut client)?;
    if message.len() == 8 {
        // It would like an encrypted connection.
        client.write_all(b"N").ok()?;
        message = first_message(&mut client)?;
    }
    if message.windows(9).any(|some| some == b"\0options\0") {
        refused.fetch_add(1, Ordering::SeqCst);
        let fields = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: options\0\0";
        let length = (fields.len() as u32 + 4).to_be_bytes();
        client.write_all(&[&b"E"[..], &length, fields].concat()).ok()?;
        return None;
    }
    let mut there = TcpStream::connect(("127.0.0.1", server)).ok()?;
    there.write_all(&message).ok()?;
    let (mut from, mut to) = (client.try_clone().ok()?, there.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
    let _ = std::io::copy(&mut there, &mut client);
    let _ = client.shutdown(std::net::Shutdown::Both);
    Some(())
}

#[test]
fn a_pooler_that_takes_no_options_is_told_everything_by_statements() {
    let (cluster, name) = (cluster(), cluster().database());
    cluster.sql(&name, "CREATE TABLE t (id int PRIMARY KEY, tags text[]); INSERT INTO t VALUES (1, '{NULL,a}')");
    cluster.sql(
        &name,
        &format!("ALTER DATABASE {name} SET array_nulls = off; ALTER DATABASE {name} SET IntervalStyle = sql_standard"),
    );
    let (port, refused) = pooler(cluster);
    let mut home = Home::new();
    home.set("PGPASSWORD", PASSWORD);
    home.write(
        "strongroom.toml",
        format!("[source.db]\nkind = 'postgres'\nurl = 'postgres://postgres@127.0.0.1:{port}/{name}'\n"),
    );
    home.ok(&["init", "--quiet"]);
    home.ok(&["backup"]);
    plainly(cluster, &name, "DELETE FROM public.t");
    home.ok(&["recover", "latest", "t", "1"]);
    assert_eq!(plainly(cluster, &name, "SELECT tags[1] IS NULL FROM public.t"), "t");
    assert!(refused.load(Ordering::SeqCst) > 0);
}
