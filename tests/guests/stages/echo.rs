//! Keeps every rule: copies its input to port `copy`, keeping attributes, and says what it was asked to say.

use guests::{Fault, Outcome, Payload, Stage, host, log, types};

struct Echo;

impl Stage for Echo {
    fn process(input: &Payload) -> Result<Outcome, Fault> {
        log::write(log::Level::Info, "echo begins");
        println!("echo on standard output");
        if let Some(text) = host::setting("fault") {
            return Err(Fault::Malformed(text));
        }
        let port = host::setting("port").unwrap_or_else(|| "copy".to_owned());
        let sink = host::open_output(&port, &input.media_type(), &input.attributes())?;
        let step = host::setting("step").map_or(1 << 16, |text| text.parse().unwrap());
        let mut offset = 0;
        loop {
            let bytes = input.read(offset, step)?;
            if bytes.is_empty() {
                break;
            }
            sink.write(&bytes)?;
            offset += bytes.len() as u64;
        }
        assert_eq!(offset, input.length());
        assert_eq!(sink.finish()?.len(), 32);
        if host::setting("asset").is_some() {
            let asset = host::asset("table")?;
            let copy = host::open_output(&port, "text/plain", &[])?;
            copy.write(&asset.read(0, 1 << 20)?)?;
            copy.finish()?;
        }
        // The environment must be empty and nothing else reachable.
        assert_eq!(std::env::vars().count() + std::env::args().count(), 0);
        let finding = types::Finding {
            kind: "size".to_owned(),
            label: Some(if offset == 0 { "empty" } else { "full" }.to_owned()),
            confidence: Some(1.0),
            scores: vec![("empty".to_owned(), 0.0), ("full".to_owned(), 1.0)],
            measurements: Vec::new(),
        };
        let evidence = types::Evidence {
            profile: "echo".to_owned(),
            edition: "1".to_owned(),
            actions: vec![types::ActionCount { action: "copied".to_owned(), count: 1 }],
            notes: Vec::new(),
        };
        Ok(Outcome { findings: vec![finding], evidence: Some(evidence) })
    }
}

guests::export!(Echo);
