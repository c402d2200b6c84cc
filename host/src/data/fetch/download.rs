//! Downloads a file from a web server, resuming where it stopped.
//!
//! An interrupted download resumes with a `Range` request (RFC 9110, section 14), under the condition (`If-Range`)
//! that the server's file is still the one of the bytes so far. Servers that support neither start over.

use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Error, Result, anyhow};
use ureq::{
    Agent, Body,
    http::{HeaderMap, Response, StatusCode},
};

use super::{
    entry::write_error,
    part::{Origin, Part},
    watch::{Watch, mib},
};

/// A server that is there answers sooner, a line that is up brings something sooner.
const PATIENCE: Duration = Duration::from_secs(60);
/// Failed attempts in a row before a started download is given up.
const ATTEMPTS: u32 = 5;
/// The pause before the first of them; each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);

/// Why an attempt ended before the file was whole.
enum Trouble {
    /// It may go better a little later.
    Passing(String),
    /// It will not.
    Lasting(Error),
}

impl Trouble {
    fn lasting(message: String) -> Self {
        Self::Lasting(anyhow!(message))
    }
}

/// Downloads `address` to `target`, which then is whole; what an earlier attempt left is used.
///
/// # Errors
/// The server cannot be reached or has no such file, the connection broke too often, or the disk says no. The bytes so far
/// are kept.
pub(super) fn download(address: &str, target: &Path, watch: &mut dyn Watch) -> Result<()> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("alambic/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE));
    let agent: Agent = config.build().into();
    let part = Part::of(target);
    // The most bytes so far: a server that starts over each time makes no progress by reaching the same point again.
    let kept = part.origin(address).map_or(0, |_| part.held_bytes());
    let (mut most, mut begun, mut failed) = (kept, false, 0);
    loop {
        let message = match attempt(&agent, address, &part, watch) {
            Ok(()) => break,
            Err(Trouble::Lasting(error)) => return Err(error),
            Err(Trouble::Passing(message)) => message,
        };
        let held = part.held_bytes();
        if held > most {
            (most, begun, failed) = (held, true, 0);
        }
        failed += 1;
        // What never began is more likely a wrong address or no network than a bad line.
        if !begun || failed > ATTEMPTS {
            return Err(given_up(address, &part, &message));
        }
        let pause = PAUSE * (1 << (failed - 1));
        watch.note(&format!(
            "{message} after {held} bytes; retrying in {} s",
            pause.as_secs()
        ));
        std::thread::sleep(pause);
    }
    part.finish(target)
        .with_context(|| format!("cannot rename {}", part.file.display()))
}

fn given_up(address: &str, part: &Part, message: &str) -> Error {
    let mend = match part.origin(address) {
        Some(_) if part.held_bytes() > 0 => format!(
            "{} bytes are kept as {}; run the same command again to resume",
            part.held_bytes(),
            part.file.display()
        ),
        _ => "check the network (HTTPS_PROXY sets a proxy), or use a mirror with --from".to_owned(),
    };
    anyhow!("cannot download {address}: {message}; {mend}")
}

/// Requests the rest of the file once and stores what arrives.
fn attempt(
    agent: &Agent,
    address: &str,
    part: &Part,
    watch: &mut dyn Watch,
) -> Result<(), Trouble> {
    let held = part.held_bytes();
    let known = part.origin(address).filter(|_| held > 0);
    let Some(known) = known else {
        let response = answer(address, agent.get(address).call())?;
        return whole(response, address, part, watch);
    };
    if known.length_bytes == Some(held) {
        return Ok(());
    }
    let validator = known.validator().expect("an origin of a part has one");
    let request = agent.get(address).header("Range", format!("bytes={held}-"));
    let response = answer(address, request.header("If-Range", validator).call())?;
    let now = Origin {
        length_bytes: range_of(response.headers()).and_then(|(_, total)| total),
        ..origin(address, response.headers())
    };
    let begins = range_of(response.headers()).map(|(first, _)| first);
    match response.status() {
        StatusCode::PARTIAL_CONTENT if begins == Some(held) && known.may_be(&now) => {
            watch.note(&format!("resuming after {held} bytes"));
            let file = part.go_on().map_err(|e| disk(part, &e))?;
            let total = known.length_bytes.or(now.length_bytes);
            store(response, file, held, total, part, watch)
        }
        StatusCode::OK => {
            watch.note("the server sends the file from the start, or it has changed");
            whole(response, address, part, watch)
        }
        // Other bytes than those asked for, of another version, or the file is shorter by now.
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
            watch.note("the server's file has changed: starting over");
            let response = answer(address, agent.get(address).call())?;
            whole(response, address, part, watch)
        }
        status => Err(refused(address, status)),
    }
}

/// Stores an answer that has the file from its first byte.
fn whole(
    response: Response<Body>,
    address: &str,
    part: &Part,
    watch: &mut dyn Watch,
) -> Result<(), Trouble> {
    if response.status() != StatusCode::OK {
        return Err(refused(address, response.status()));
    }
    let origin = Origin {
        length_bytes: response.body().content_length(),
        ..origin(address, response.headers())
    };
    let file = part.begin(&origin).map_err(|e| disk(part, &e))?;
    store(response, file, 0, origin.length_bytes, part, watch)
}

fn store(
    response: Response<Body>,
    mut file: File,
    held: u64,
    total: Option<u64>,
    part: &Part,
    watch: &mut dyn Watch,
) -> Result<(), Trouble> {
    match total {
        Some(total) => watch.begin("download", mib(held), mib(total), "MiB"),
        None => watch.note("the server does not report the file's length"),
    }
    let mut body = response.into_body().into_reader();
    let (mut done, mut buffer) = (held, vec![0; 1 << 16]);
    loop {
        let read = body.read(&mut buffer);
        let n = read.map_err(|e| Trouble::Passing(said(&ureq::Error::from(e))))?;
        if n == 0 {
            break;
        }
        file.write_all(&buffer[..n]).map_err(|e| disk(part, &e))?;
        done += n as u64;
        if total.is_some() {
            watch.at(mib(done));
        }
    }
    if total.is_some_and(|total| total != done) {
        return Err(Trouble::Passing("the connection was closed".to_owned()));
    }
    watch.end();
    Ok(())
}

fn answer(
    address: &str,
    response: Result<Response<Body>, ureq::Error>,
) -> Result<Response<Body>, Trouble> {
    response.map_err(|error| match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
            Trouble::lasting(format!(
                "cannot download {address}: {error}; expected an address such as https://HOST/FILE"
            ))
        }
        error => Trouble::Passing(said(&error)),
    })
}

/// The library's errors in this program's words.
fn said(error: &ureq::Error) -> String {
    match error {
        ureq::Error::HostNotFound => "no such host".to_owned(),
        ureq::Error::Timeout(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the connection was closed".to_owned()
        }
        ureq::Error::Io(io) => io.to_string().to_lowercase(),
        other => other.to_string(),
    }
}

fn refused(address: &str, status: StatusCode) -> Trouble {
    let message = format!("got status {status}, expected 200");
    match status {
        StatusCode::TOO_MANY_REQUESTS => Trouble::Passing(message),
        status if status.is_server_error() => Trouble::Passing(message),
        _ => Trouble::lasting(format!(
            "cannot download {address}: {message}; the file may have moved; use another source with --from"
        )),
    }
}

fn disk(part: &Part, error: &std::io::Error) -> Trouble {
    Trouble::lasting(format!(
        "{}; then run the same command again to resume",
        write_error(&part.file, error)
    ))
}

fn origin(address: &str, headers: &HeaderMap) -> Origin {
    let header = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    Origin {
        address: address.to_owned(),
        etag: header("etag"),
        last_modified: header("last-modified"),
        length_bytes: None,
    }
}

/// First byte and whole length out of `Content-Range: bytes 5-9/10`; the length may be `*`.
fn range_of(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get("content-range")?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, total.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read() {
        for (text, expected) in [
            ("bytes 5-9/10", Some((5, Some(10)))),
            ("bytes 5-9/*", Some((5, None))),
            ("bytes */10", None),
            ("items 5-9/10", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("content-range", text.parse().unwrap());
            assert_eq!(range_of(&headers), expected, "{text}");
        }
    }

    #[test]
    fn what_may_pass_is_told_from_what_lasts() {
        for (status, passes) in [(503, true), (429, true), (404, false), (403, false)] {
            let trouble = refused("http://a/b", StatusCode::from_u16(status).unwrap());
            assert_eq!(matches!(trouble, Trouble::Passing(_)), passes, "{status}");
        }
    }
}
