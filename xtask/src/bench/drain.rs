//! P9: events a second that the agent drains and batches.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{Bench, stats};

/// Records a second; 0 is as many as the producer can make, which is more than there is room for.
const RATES: [u64; 4] = [500_000, 1_000_000, 2_000_000, 0];
const SECONDS: u64 = 2;

/// One run of `drain`.
#[derive(Default)]
struct Samples {
    written_per_s: Vec<f64>,
    dropped: Vec<f64>,
    collect_ns: Vec<f64>,
    batch_ns: Vec<f64>,
}

pub(super) fn run(bench: &Bench) -> Result<String> {
    let mut samples: [Samples; RATES.len()] = Default::default();
    for round in 0..bench.rounds {
        for (rate, samples) in RATES.iter().zip(&mut samples) {
            eprintln!("round {} of {}: {rate} records/s", round + 1, bench.rounds);
            let output = Command::new(bench.load.with_file_name("drain"))
                .args([rate.to_string(), SECONDS.to_string()])
                .stderr(Stdio::inherit())
                .output()?;
            ensure!(output.status.success(), "drain failed");
            let text = String::from_utf8(output.stdout)?;
            let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
            let [written, dropped, _, seconds, _, collect_ns, batch_ns] = numbers[..] else {
                anyhow::bail!("drain printed {text:?}")
            };
            samples.written_per_s.push(written / seconds);
            samples.dropped.push(dropped / (written + dropped) * 100.0);
            samples.collect_ns.push(collect_ns / written);
            samples.batch_ns.push(batch_ns / written);
        }
    }
    let mut text = "| records written | drained and batched, a second | dropped | collecting, CPU each | batching, CPU each | the two \
                    threads could do, a second |\n|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for (rate, samples) in RATES.iter().zip(&samples) {
        let told = if *rate == 0 {
            "as fast as can be".to_owned()
        } else {
            format!("{:.1} M/s", *rate as f64 / 1e6)
        };
        let (collect, batch) = (stats::median(&samples.collect_ns), stats::median(&samples.batch_ns));
        writeln!(
            text,
            "| {told} | {:.2} M | {:.2} % | {collect:.0} ns | {batch:.0} ns | {:.1} M |",
            stats::median(&samples.written_per_s) / 1e6,
            stats::median(&samples.dropped),
            1e3 / collect.max(batch)
        )?;
    }
    text.push_str(
        "\nRecords of 120 to 133 bytes, every third with a name, of 10 000 files and two processes, in a ring of 4 MiB. The producer \
         is a program in the kernel and takes a CPU for itself when it goes as fast as it can; with two CPUs the two threads \
         share the other one.\n",
    );
    samples.first().context("one rate")?;
    Ok(text)
}
