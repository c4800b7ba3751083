//! Edits of the boot partition: whole files, the line of cmdline.txt, our block of config.txt.

use super::config_txt;
use super::made::Made;
use crate::disk::partition_table::NewIds;
use crate::error::{Error, Result, ResultExt};
use crate::fat::Fat;
use crate::image::cmdline::{CMDLINE, kernel_line};
use crate::plan::{Action, Content, Edit, When};

const CONFIG_TXT: &str = "/config.txt";

/// Applies the edits of the boot partition. Notes what they touch in `made`.
pub fn apply(fat: &mut Fat, edits: &[&Edit], made: &mut Made) -> Result<()> {
    let mut config_lines = Vec::new();
    for edit in edits {
        made.add_with_folders(&edit.path);
        let place = || format!("{} of the boot partition ({})", edit.path, edit.origin);
        match &edit.action {
            Action::Write(Content::Bytes(bytes), _) => {
                if bytes.is_secret() {
                    made.secret(&edit.path);
                }
                fat.write_file(&edit.path, bytes).context(place)?;
            }
            Action::Remove => {
                fat.remove(&edit.path).context(place)?;
            }
            Action::Cmdline { add, remove } => {
                let text = read_text(fat, &edit.path)?;
                let line = edit_cmdline(&text, add, remove).context(place)?;
                fat.write_file(&edit.path, line.as_bytes()).context(place)?;
            }
            Action::ConfigTxt(lines) => config_lines.push(config_txt::Lines::new(edit, lines)),
            other => {
                return Err(Error::failed(format!(
                    "the boot partition cannot take {other:?}"
                )))
                .context(place);
            }
        }
    }
    if !config_lines.is_empty() {
        let text = config_txt::edit(&read_text(fat, CONFIG_TXT)?, &config_lines);
        made.add(CONFIG_TXT);
        fat.write_file(CONFIG_TXT, text.as_bytes())
            .context(|| "/config.txt of the boot partition".into())?;
    }
    Ok(())
}

/// The kernel's command line as the edits that every base gets leave it.
pub fn planned_kernel_line(fat: &Fat, edits: &[Edit]) -> Result<String> {
    let mut line = kernel_line(fat)?;
    for edit in edits.iter().filter(|edit| edit.when == When::Always) {
        if let Action::Cmdline { add, remove } = &edit.action {
            line = edit_words(&line, add, remove);
        }
    }
    Ok(line)
}

/// The kernel finds its root file system by the `PARTUUID` in cmdline.txt.
pub fn rename_partitions(fat: &mut Fat, new_ids: &NewIds, made: &mut Made) -> Result<()> {
    if new_ids.is_empty() {
        return Ok(());
    }
    let before = read_text(fat, CMDLINE)?;
    let after = new_ids.replace_in(&before);
    made.add(CMDLINE);
    match after == before {
        true => Ok(()),
        false => fat
            .write_file(CMDLINE, after.as_bytes())
            .context(|| format!("{CMDLINE} of the boot partition")),
    }
}

fn read_text(fat: &Fat, path: &str) -> Result<String> {
    let bytes = fat.read(path)?.ok_or_else(|| {
        Error::failed(format!("the boot partition has no {path}"))
            .with_hint("the base is not a Raspberry Pi OS image")
    })?;
    String::from_utf8(bytes)
        .map_err(|_| Error::failed(format!("{path} of the boot partition is not UTF-8 text")))
}

/// The firmware reads the first line only.
fn edit_cmdline(text: &str, add: &[String], remove: &[String]) -> Result<String> {
    let line = text.lines().next().unwrap_or_default();
    if !line.contains("root=") {
        return Err(
            Error::failed("cmdline.txt names no root file system (root=…)")
                .with_hint("the base is not a Raspberry Pi OS image"),
        );
    }
    Ok(edit_words(line, add, remove) + "\n")
}

/// Words keep their order; new ones go to the end, each once.
fn edit_words(line: &str, add: &[String], remove: &[String]) -> String {
    let is_removed = |word: &str| {
        remove.iter().any(|r| match r.ends_with('=') {
            true => word.starts_with(r.as_str()),
            false => word == r,
        })
    };
    let mut words: Vec<&str> = line.split_whitespace().filter(|w| !is_removed(w)).collect();
    for word in add.iter().flat_map(|words| words.split_whitespace()) {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn cmdline_stays_one_line_and_words_come_once() {
        let base =
            "console=tty1 root=PARTUUID=1-02 rootwait resize ds=nocloud;i=old\nsecond line\n";
        let add = words(&["cgroup_enable=memory", "ds=nocloud;i=new"]);
        let once = edit_cmdline(base, &add, &words(&["ds="])).unwrap();
        assert_eq!(
            once,
            "console=tty1 root=PARTUUID=1-02 rootwait resize cgroup_enable=memory ds=nocloud;i=new\n"
        );
        assert_eq!(edit_cmdline(&once, &add, &words(&["ds="])).unwrap(), once);
        assert!(edit_cmdline("quiet\n", &add, &[]).is_err());
    }
}
