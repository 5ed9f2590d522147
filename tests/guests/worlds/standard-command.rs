//! A program that reads its settings and writes its log by the standard interfaces. It fails without `greeting`.

#[path = "../src/standard.rs"]
mod standard;

fn main() {
    standard::speak();
    let greeted = standard::settings().split(' ').any(|setting| setting == "greeting=hello");
    std::process::exit(i32::from(!greeted));
}
