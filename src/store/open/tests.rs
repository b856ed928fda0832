use super::*;
use crate::base::error::{Class, Explain};

fn options(settings: &[(&str, &str)]) -> Options {
    Options { aws: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect() }
}

#[test]
fn a_location_is_a_folder_a_bucket_or_memory() {
    let folder = |path: &str| Location::Folder(path.into());
    let bucket = |bucket: &str, prefix: &str| Location::Bucket { bucket: bucket.into(), prefix: prefix.into() };
    for (text, expected) in [
        ("/backups/a b", folder("/backups/a b")),
        ("backups", folder("backups")),
        ("./s3:/x", folder("./s3:/x")),
        ("file:///backups/a%20b", folder("/backups/a b")),
        ("file://localhost/backups", folder("/backups")),
        ("s3://b", bucket("b", "")),
        ("s3://b/", bucket("b", "")),
        ("s3://my.bucket-1/one/two/", bucket("my.bucket-1", "one/two")),
        ("memory://", Location::Memory(String::new())),
        ("memory://x", Location::Memory("x".into())),
    ] {
        assert_eq!(parse(text).unwrap(), expected, "{text}");
    }
}

#[test]
fn what_is_no_location_is_refused_with_the_way_out() {
    for text in ["", "s3:bucket", "s3://", "s3://a b", "s3://b/../x", "file://host/x", "file://x", "file:///%zz"] {
        let error = parse(text).unwrap_err();
        assert_eq!(error.class(), Class::Usage, "{text}");
        assert!(error.hint().unwrap().contains("s3://bucket/prefix"), "{text}");
    }
    let error = parse("gs://bucket/x").unwrap_err();
    assert_eq!(error.to_string(), "gs:// is not supported by this version");
}

#[test]
fn opening_makes_no_folder_and_creating_does() {
    let temp = tempfile::tempdir().unwrap();
    let place = temp.path().join("a/b");
    let location = place.to_str().unwrap();
    let error = Store::open(location, &Options::default()).unwrap_err();
    assert_eq!((error.class(), error.to_string()), (Class::NoVault, format!("there is no folder {location}")));
    assert!(!place.exists());
    assert!(Store::create(location, &Options::default()).unwrap().is_local());
    assert!(Store::create(location, &Options::default()).is_ok(), "creating twice is no harm");
    fs::write(temp.path().join("file"), "x").unwrap();
    let file = temp.path().join("file");
    for location in [file.clone(), file.join("below")] {
        let error = Store::create(location.to_str().unwrap(), &Options::default()).unwrap_err();
        assert!(matches!(error, StoreError::NotAFolder { .. }), "{error}");
    }
}

#[test]
fn a_bucket_without_credentials_or_with_a_bad_endpoint_is_refused_before_any_request() {
    let open = |settings: &[(&str, &str)]| Store::open("s3://b/x", &options(settings)).unwrap_err();
    let error = open(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), ("AWS_ACCESS_KEY_ID", "")]);
    assert!(matches!(error, StoreError::NoCredentials { .. }), "{error}");
    let error = open(&[("AWS_ENDPOINT", "127.0.0.1:9000")]);
    assert_eq!(error.to_string(), "the setting AWS_ENDPOINT must begin with http:// or https://");
    let error = open(&[("AWS_ENDPOINT", "https://me:hunter2@host")]);
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    let error = open(&[("AWS_ENDPOINT", "http://127.0.0.1:1"), ("AWS_ACCESS_KEY_ID", "k")]);
    assert!(matches!(error, StoreError::BadSettings { .. }), "{error}");
}

#[test]
fn secrets_in_settings_are_not_shown() {
    let options = options(&[
        ("AWS_ENDPOINT", "http://127.0.0.1:1"),
        ("AWS_ACCESS_KEY_ID", "hunter1"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_PROFILE", "ignored"),
    ]);
    let store = Store::open("s3://b/x", &options).unwrap();
    let shown = format!("{options:?} {store:?} {} {}", store.location(), store.describe());
    assert!(!shown.contains("hunter"), "{shown}");
}
