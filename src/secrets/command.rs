//! `cmd:COMMAND`: asks a program for a secret.

use std::io::{self, IsTerminal, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::refusal::Refusal;
use crate::parallel::lock;

/// Secrets and keys are a line or a few; what is larger is another file, or one without an end.
pub const LIMIT: usize = 64 << 10;

/// How long a command that has ended is listened to, when it left another behind that holds stderr.
const GRACE: Duration = Duration::from_secs(1);

/// Room for what may be a secret: it never moves, so all of it is wiped.
pub fn buffer() -> Zeroizing<Vec<u8>> {
    // One byte more than the limit is read, to see that there is more; and `read_to_end` wants
    // some room to find the end.
    Zeroizing::new(Vec::with_capacity(LIMIT + 64))
}

/// What commands said on stderr: it may have the secret in it, so only the one who masks may tell
/// it. Clones share it.
#[derive(Clone, Default)]
pub struct Overheard(Arc<Mutex<Vec<Zeroizing<Vec<u8>>>>>);

impl Overheard {
    fn add(&self, said: Zeroizing<Vec<u8>>) {
        if !said.is_empty() {
            let mut all = lock(&self.0);
            all.push(said);
        }
    }

    /// What was said since the last time.
    pub fn take(&self) -> Vec<Zeroizing<String>> {
        let mut all = lock(&self.0);
        let text =
            |said: Zeroizing<Vec<u8>>| Zeroizing::new(String::from_utf8_lossy(&said).into_owned());
        all.drain(..).map(text).collect()
    }
}

/// What `command` prints. It is not quoted in messages: it may hold a secret.
///
/// On a terminal it speaks to the user itself, who may have to answer it. Elsewhere, as in the log of
/// a build, what it says on stderr waits in `overheard` until its secret is known and can be masked.
pub fn run(command: &str, overheard: &Overheard) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let failed = |error: io::Error| Refusal::new(format!("running the command: {error}"));
    let is_seen = io::stderr().is_terminal();
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(if is_seen {
            Stdio::inherit()
        } else {
            Stdio::piped()
        })
        .spawn()
        .map_err(failed)?;
    let said = listen(&mut child);
    let mut bytes = buffer();
    let got = match child.stdout.take() {
        Some(out) => out.take(LIMIT as u64 + 1).read_to_end(&mut bytes),
        None => Ok(0),
    };
    if bytes.len() > LIMIT {
        // It may have ended between the two; then there is nothing to kill.
        let _ = child.kill();
    }
    let status = child.wait().map_err(failed)?;
    if let Some(said) = said {
        overheard.add(gathered(&said));
    }
    got.map_err(failed)?;
    if bytes.len() > LIMIT {
        let limit = LIMIT >> 10;
        let what = format!("the command printed more than {limit} KiB");
        return Err(Refusal::new(what));
    }
    if !status.success() {
        return Err(Refusal::new(format!("the command failed: {status}")));
    }
    Ok(bytes)
}

/// Reads the child's stderr, if that is a pipe, until nobody writes to it any more.
fn listen(child: &mut Child) -> Option<Receiver<Zeroizing<Vec<u8>>>> {
    let mut stderr = child.stderr.take()?;
    let (send, received) = channel();
    thread::spawn(move || {
        let mut chunk = Zeroizing::new([0; 4096]);
        while let Ok(n @ 1..) = stderr.read(&mut chunk[..]) {
            // Who does not listen any more has what it waits for; the pipe is emptied all the same.
            let _ = send.send(Zeroizing::new(chunk[..n].to_vec()));
        }
    });
    Some(received)
}

/// All that was said, up to the limit.
fn gathered(said: &Receiver<Zeroizing<Vec<u8>>>) -> Zeroizing<Vec<u8>> {
    let end = Instant::now() + GRACE;
    let mut all = buffer();
    while let Ok(chunk) = said.recv_timeout(end.saturating_duration_since(Instant::now())) {
        let room = LIMIT - all.len();
        all.extend_from_slice(&chunk[..room.min(chunk.len())]);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_says_is_kept_apart_from_what_it_prints() {
        let overheard = Overheard::default();
        let printed = run("echo said >&2; echo printed", &overheard);
        assert_eq!(printed.ok().unwrap().as_slice(), b"printed\n");
        // Under a terminal it was shown at once.
        if !io::stderr().is_terminal() {
            assert_eq!(overheard.take()[0].as_str(), "said\n");
            assert!(overheard.take().is_empty());
        }
    }

    #[test]
    fn a_command_that_leaves_another_behind_is_not_waited_for() {
        let begin = Instant::now();
        run("sleep 20 >/dev/null & echo printed", &Overheard::default())
            .ok()
            .unwrap();
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}
