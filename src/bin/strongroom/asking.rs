//! Asking the person at the terminal: for a passphrase, or whether something is meant.
//!
//! Where nobody can be asked, whoever wants to know gets no answer, and never a yes.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use age::secrecy::SecretString;
use strongroom::base::control::Control;
use strongroom::vault::error::VaultError;
use strongroom::vault::host;

use crate::context::{Context, waiting};
use crate::terminal::safe;

impl Context {
    /// Can a person be asked something?
    pub fn may_ask(&self) -> bool {
        self.interactive() && !self.json() && std::io::stdin().is_terminal()
    }

    /// Asks a question whose answer is no, unless it is yes.
    pub fn agreed(&self, question: &str) -> bool {
        let _ = std::io::stderr().write_all(format!("{} [y/N] ", safe(question)).as_bytes());
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }
}

pub fn passphrase_file() -> Option<PathBuf> {
    std::env::var_os("STRONGROOM_PASSPHRASE_FILE").map(PathBuf::from)
}

/// From the file the environment names, or from the terminal without echo. `None` if nobody can be asked.
pub fn read_passphrase(prompt: &str) -> Result<Option<SecretString>, VaultError> {
    if let Some(file) = passphrase_file() {
        let text = waiting(|| host::read_passphrase(&file))?;
        return Ok(Some(SecretString::from(text.as_str().to_owned())));
    }
    if !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    match waiting(|| rpassword::prompt_password(prompt)) {
        Ok(text) => Ok(Some(SecretString::from(text))),
        // Somebody was asked, and meant to stop.
        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Err(VaultError::Interrupted),
        Err(_) => Ok(None),
    }
}

/// Asks what an encrypted ssh key needs.
#[derive(Clone)]
pub struct Prompt(pub Arc<Control>);

impl age::Callbacks for Prompt {
    fn display_message(&self, _: &str) {}

    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }

    fn request_public_string(&self, _: &str) -> Option<String> {
        None
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let typed = waiting(|| rpassword::prompt_password(format!("{description}: ")));
        if typed.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::Interrupted) {
            self.0.stop();
        }
        typed.ok().map(SecretString::from)
    }
}
