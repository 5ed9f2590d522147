//! An ordinary program, written against `std` alone.

use std::io::{Read, Write};

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("exit") => {
            std::process::exit(arguments.next().map_or(1, |code| code.parse().unwrap()));
        }
        Some("environment") => {
            for (name, value) in std::env::vars() {
                println!("{name}={value}");
            }
        }
        Some("read") => {
            print!("{}", std::fs::read_to_string(arguments.next().unwrap()).unwrap());
        }
        Some("write") => {
            let path = arguments.next().unwrap();
            if let Err(error) = std::fs::write(path, "written") {
                eprintln!("{error}");
                std::process::exit(1);
            }
        }
        Some("shout") => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).unwrap();
            std::io::stdout().write_all(text.to_uppercase().as_bytes()).unwrap();
        }
        Some("spin") => loop {
            std::hint::black_box(0);
        },
        Some("sleep") => std::thread::sleep(std::time::Duration::from_secs(3600)),
        _ => println!("hello from {}", std::env::args().next().unwrap_or_default()),
    }
}
