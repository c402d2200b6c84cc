//! A web server for one file, with the manners and mishaps that a test asks for.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

/// What the server has and how it behaves; a test may change it between two requests.
#[derive(Clone, Debug)]
pub struct Site {
    /// The file.
    pub body: Vec<u8>,
    /// Its entity tag.
    pub etag: &'static str,
    /// A status in place of 200 and 206, from this request on, counted from 0.
    pub fails: Option<(usize, u16)>,
    /// Whether it knows `Range`.
    pub ranges: bool,
    /// Whether it knows `If-Range`; without, it sends a range of whatever it has.
    pub conditions: bool,
    /// How many bytes of the body the next answers send before the connection ends.
    pub cuts: Vec<usize>,
    /// The headers of the requests so far, in lower case.
    pub requests: Vec<Vec<String>>,
}

impl Site {
    /// A well-behaved server.
    pub fn of(body: Vec<u8>) -> Self {
        Self {
            body,
            etag: "\"1\"",
            fails: None,
            ranges: true,
            conditions: true,
            cuts: Vec::new(),
            requests: Vec::new(),
        }
    }
}

/// The server at work, for as long as the test's process lives.
pub struct Server {
    site: Arc<Mutex<Site>>,
    address: String,
}

impl Server {
    /// Listens on a free port of this machine.
    pub fn start(site: Site) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound port").port();
        let site = Arc::new(Mutex::new(site));
        let served = site.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that hangs up is no concern of the server's.
                let _ = answer(stream, &served);
            }
        });
        Self {
            site,
            address: format!("http://127.0.0.1:{port}/set"),
        }
    }

    /// The address of the file.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The site, to look at or to change.
    pub fn site(&self) -> MutexGuard<'_, Site> {
        self.site.lock().expect("the server does not panic")
    }

    /// The values of a header, request by request.
    pub fn asked(&self, header: &str) -> Vec<Option<String>> {
        let value = |request: &Vec<String>| {
            let of = |line: &String| Some(line.strip_prefix(header)?.trim().to_owned());
            request.iter().find_map(of)
        };
        self.site().requests.iter().map(value).collect()
    }
}

fn answer(stream: TcpStream, site: &Mutex<Site>) -> std::io::Result<()> {
    let mut headers = Vec::new();
    for line in BufReader::new(&stream).lines() {
        let line = line?.to_lowercase();
        if line.is_empty() {
            break;
        }
        headers.push(line);
    }
    let find = |name: &str| headers.iter().find_map(|line| line.strip_prefix(name));
    let range = find("range: bytes=").and_then(|range| range.trim_end_matches('-').parse().ok());
    let condition = find("if-range: ").map(str::to_owned);
    let mut site = site.lock().expect("no test panics while it holds this");
    site.requests.push(headers);
    let cut = match site.cuts.is_empty() {
        true => usize::MAX,
        false => site.cuts.remove(0),
    };
    let total = site.body.len();
    let is_same = !site.conditions || condition.is_none_or(|tag| tag == site.etag);
    let first: usize = range.filter(|_| site.ranges && is_same).unwrap_or(0);
    let (status, body) = match site.fails {
        Some((from, status)) if site.requests.len() > from => (status, &b"sorry"[..]),
        _ if first >= total => (416, &b""[..]),
        _ if first > 0 => (206, &site.body[first..]),
        _ => (200, &site.body[..]),
    };
    let mut head = format!(
        "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nETag: {}\r\nConnection: close\r\n",
        body.len(),
        site.etag
    );
    if status == 206 {
        head += &format!("Content-Range: bytes {first}-{}/{total}\r\n", total - 1);
    }
    let mut stream = &stream;
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(&body[..body.len().min(cut)])
}
