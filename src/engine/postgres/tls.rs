//! Encrypted connections, through rustls.
//!
//! Owns what is checked of a server's certificate, as libpq's `sslmode` has it: with `prefer` and `require` nothing, so
//! that they keep out who listens and not who stands in between; with `verify-ca` who signed it; with `verify-full`
//! whose it is too.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

use crate::engine::postgres::error::{PostgresError, TlsCause};
use crate::engine::postgres::settings::{Protection, Settings};
use crate::engine::postgres::wire::Gathered;

/// Makes an encrypted connection of one that is not.
pub(super) struct Connector {
    connector: TlsConnector,
    server: ServerName<'static>,
    handshake: Handshake,
}

/// How far the two sides have come with it: the driver does not say what failed, but in words.
#[derive(Clone, Default)]
pub(super) struct Handshake(Arc<AtomicU8>);

impl Handshake {
    const BEGUN: u8 = 1;
    const DONE: u8 = 2;

    /// Did it begin and come to no good end?
    pub fn has_failed(&self) -> bool {
        self.0.load(Ordering::SeqCst) == Self::BEGUN
    }

    /// Did the server want none?
    pub fn has_not_begun(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

impl Connector {
    pub fn handshake(&self) -> Handshake {
        self.handshake.clone()
    }
}

pub(super) fn connector(settings: &Settings) -> Result<Connector, PostgresError> {
    let fail = |reason: String| PostgresError::Tls { server: settings.server(), reason, cause: TlsCause::Settings };
    // Never asked for where the host is a folder.
    let host = if settings.is_local() { "localhost" } else { &settings.host };
    let server = ServerName::try_from(host.to_owned()).map_err(|_| fail(format!("{host:?} is no name of a host")))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let signed = || authority(settings, &provider).map_err(fail);
    let lenient = |authority| Arc::new(Lenient { authority, provider: provider.clone() });
    let verifier: Arc<dyn ServerCertVerifier> = match settings.protection {
        Protection::Disable | Protection::Prefer | Protection::Require => lenient(None),
        Protection::VerifyAuthority => lenient(Some(signed()?)),
        Protection::VerifyFull => signed()?,
    };
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| fail(error.to_string()))?;
    let config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    Ok(Connector { connector: TlsConnector::from(Arc::new(config)), server, handshake: Handshake::default() })
}

/// Whoever the named file, or the system, trusts.
fn authority(settings: &Settings, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut roots = RootCertStore::empty();
    match settings.root_certificate.as_deref().filter(|file| file.as_os_str() != "system") {
        Some(file) => {
            let unreadable = |error| format!("cannot read {}: {error}", file.display());
            for certificate in CertificateDer::pem_file_iter(file).map_err(unreadable)? {
                roots.add(certificate.map_err(unreadable)?).map_err(|error| error.to_string())?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    builder.build().map_err(|error| error.to_string())
}

/// Looks at less of a certificate than it could. What is signed with it is checked all the same.
#[derive(Debug)]
struct Lenient {
    /// Whose signature a certificate must have; without, anybody's will do.
    authority: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(authority) = &self.authority else { return Ok(ServerCertVerified::assertion()) };
        match authority.verify_server_cert(certificate, chain, name, response, now) {
            // The name is looked at last: all else was good.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Connector {
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let (stage, encrypted) = (self.handshake.0, self.connector.connect(self.server, stream));
        stage.store(Handshake::BEGUN, Ordering::SeqCst);
        Box::pin(async move {
            let encrypted = encrypted.await?;
            stage.store(Handshake::DONE, Ordering::SeqCst);
            Ok(Encrypted(Gathered::new(encrypted)))
        })
    }
}

/// An encrypted connection, its messages gathered as on any other.
pub(super) struct Encrypted<S>(Gathered<tokio_rustls::client::TlsStream<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, to)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
