//! Times in lists: seconds since the epoch, from and to RFC 3339 in UTC.
#![forbid(unsafe_code)]

const DAY: i64 = 86_400;

/// The second that `text` names: `2026-11-27`, `2026-11-27T02:22` or with seconds, with or without `Z`; `None` when it is none from 1970
/// to 2106.
pub fn read_time(text: &str) -> Option<u32> {
    let text = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let (date, clock) = text.split_once(['T', 't']).map_or((text, None), |(date, clock)| (date, Some(clock)));
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = match clock {
        None => [0; 3],
        Some(clock) if clock.len() == 5 => {
            let [hour, minute] = numbers(clock, ':')?;
            [hour, minute, 0]
        }
        Some(clock) => numbers(clock, ':')?,
    };
    let days = days_of(year, month, day)?;
    let in_range = hour < 24 && minute < 60 && second < 60;
    u32::try_from(days * DAY + hour * 3600 + minute * 60 + second).ok().filter(|_| in_range)
}

/// The same in text, with seconds and `Z`.
pub fn write_time(seconds: u32) -> String {
    let (days, rest) = (i64::from(seconds) / DAY, i64::from(seconds) % DAY);
    let (year, month, day) = date_of(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// So many numbers of digits alone.
fn numbers<const N: usize>(text: &str, between: char) -> Option<[i64; N]> {
    let mut found = [0; N];
    let mut parts = text.split(between);
    for number in &mut found {
        let part = parts.next().filter(|part| part.len() >= 2 && part.bytes().all(|octet| octet.is_ascii_digit()))?;
        *number = part.parse().ok().filter(|number| *number < 10_000)?;
    }
    parts.next().is_none().then_some(found)
}

/// Days since the epoch of a date of the Gregorian calendar that exists.
fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    let of_march = (month + 9) % 12; // a leap day is the last day of such a year
    let year_of_march = year - i64::from(month <= 2);
    let days = 365 * year_of_march + year_of_march.div_euclid(4) - year_of_march.div_euclid(100)
        + year_of_march.div_euclid(400)
        + (153 * of_march + 2) / 5
        + day
        - 1
        - 719_468;
    (date_of(days) == (year, month, day)).then_some(days)
}

/// The date so many days after the epoch.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // since the first of March of the year 0
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let of_march = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * of_march + 2) / 5 + 1, (of_march + 2) % 12 + 1);
    (year + 400 * era + i64::from(month <= 2), month, day)
}
