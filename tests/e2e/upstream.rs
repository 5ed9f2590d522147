//! Components that somebody else published, run as they are.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use martello_tests::{DEADLINE, Started, finish, martello, start, upstream};

#[test]
fn a_published_program_works_on_the_folder_it_is_granted_and_on_no_other() {
    let Some(cksum) = upstream("cksum").unwrap() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (state, data) = (folder.path().join("state"), folder.path().join("data"));
    fs::create_dir(&data).unwrap();
    fs::write(data.join("nine"), "123456789").unwrap();
    let grant = format!("{}::/data:ro", data.display());
    let mut exec = martello(&state);
    exec.arg("exec").arg(&cksum).args(["--dir", &grant, "--", "-a", "sha256", "/data/nine"]);
    let ended = finish(&mut exec).unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    // SHA-256 of the nine digits, as sha256sum gives it.
    let digest = "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225";
    assert_eq!(said.trim_end(), format!("SHA256 (/data/nine) = {digest}"));

    let mut without = martello(&state);
    without.arg("exec").arg(&cksum).args(["--", "-a", "sha256", "/data/nine"]);
    let ended = finish(&mut without).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(ended.stdout.is_empty());
}

#[test]
fn a_published_server_answers() {
    let Some(server) = upstream("http_server").unwrap() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut serve = martello(&folder.path().join("state"));
    serve.arg("serve").arg(&server).args(["--addr", "127.0.0.1:0"]);
    let Started { mut child, rest: address, .. } = start(&mut serve, "serving on http://").unwrap();
    let ask = |head: &str, body: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "{head}\r\nHost: device\r\nConnection: close\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    let home = ask("GET / HTTP/1.1", "");
    let waited = ask("GET /wait-response HTTP/1.1", "");
    let echoed = ask("POST /echo HTTP/1.1\r\nContent-Length: 10", "there/back");
    let absent = ask("GET /nothing HTTP/1.1", "");
    child.kill().unwrap();
    child.wait().unwrap();
    let home = home.unwrap();
    assert!(home.starts_with("HTTP/1.1 200 ") && home.contains("Hello, wasi:http/proxy world!"), "{home}");
    let waited = waited.unwrap();
    assert!(waited.starts_with("HTTP/1.1 200 ") && waited.contains("slept for "), "{waited}");
    let echoed = echoed.unwrap();
    assert!(echoed.starts_with("HTTP/1.1 200 ") && echoed.contains("there/back"), "{echoed}");
    assert!(absent.unwrap().starts_with("HTTP/1.1 404 "));
}
