//! Tells cargo what is embedded in the program: `rust-embed` does not notice a new file by itself.

fn main() {
    for folder in ["overlays", "profiles"] {
        println!("cargo::rerun-if-changed={folder}");
    }
}
