//! Python's `onnxruntime`, driven over a pipe so that it can take its turn in our loop.

use std::io::{BufRead, BufReader, Write};
use std::num::NonZero;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::bench::Bench;
use crate::onnx::BenchModel;

/// Loads the model, says its version, then runs as often as each line says and answers with nanoseconds.
const SCRIPT: &str = "\
import sys, time
import numpy, onnxruntime
model, data, threads, shape = sys.argv[1:5]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(threads)
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])
inputs = {'input': numpy.fromfile(data, dtype='<f4').reshape([int(size) for size in shape.split(',')])}
session.run(None, inputs)
print(onnxruntime.__version__, flush=True)
for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        begun = time.perf_counter_ns()
        session.run(None, inputs)
        times.append(str(time.perf_counter_ns() - begun))
    print(' '.join(times), flush=True)
";

/// The process with its model loaded.
pub(crate) struct Python {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// The version of `onnxruntime`.
    pub(crate) version: String,
}

impl Python {
    pub(crate) fn start(
        interpreter: &Path,
        bench: &Bench,
        model: &BenchModel,
        threads: NonZero<usize>,
    ) -> anyhow::Result<Self> {
        let folder = bench.folder("python")?;
        let (file, data) = (folder.join("model.onnx"), folder.join("input.bin"));
        let input: Vec<u8> = model.input().iter().flat_map(|value| value.to_le_bytes()).collect();
        std::fs::write(&file, &model.bytes)
            .and_then(|()| std::fs::write(&data, input))
            .context("writing the model")?;
        let mut child = Command::new(interpreter)
            .args(["-c", SCRIPT])
            .args([&file, &data])
            .arg(threads.to_string())
            .arg(model.shape.map(|size| size.to_string()).join(","))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting Python")?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("Python has no pipes");
        };
        let mut python = Self { child, requests, answers: BufReader::new(answers), version: String::new() };
        python.version = python.line()?;
        Ok(python)
    }

    /// Runs the model so often and gives the time of each run.
    pub(crate) fn run(&mut self, runs: usize) -> anyhow::Result<Vec<Duration>> {
        writeln!(self.requests, "{runs}").context("asking Python")?;
        let line = self.line()?;
        line.split(' ').map(|text| Ok(Duration::from_nanos(text.parse()?))).collect()
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("hearing from Python")?;
        if line.is_empty() {
            bail!("Python ended");
        }
        Ok(line.trim().to_owned())
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about it here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
