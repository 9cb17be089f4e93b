//! Dates of the Gregorian calendar as days since 1 January 1970. Years begin in March here, so that a
//! leap day is the last of its year (the algorithms of Howard Hinnant's `days_from_civil` and
//! `civil_from_days`).

/// Days since 1 January 1970 of a date such as `2026-12-31`, up to the year 9999; `None` if the
/// calendar has no such day.
pub fn days_of(date: &str) -> Option<u32> {
    let mut parts = date.split('-');
    let mut number = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<u32>().ok())?
    };
    let (year, month, day) = (number(4)?, number(2)?, number(2)?);
    let is_whole = parts.next().is_none();
    if !is_whole || year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let year = if month > 2 { year } else { year - 1 };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    // A 31st of a shorter month is a day of the next one.
    (date_of(days) == date).then_some(days)
}

/// The date, `days` after 1 January 1970.
pub fn date_of(days: u32) -> String {
    let days = u64::from(days) + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_day_is_read_back(days in 0_u32..2_900_000) {
            prop_assert_eq!(days_of(&date_of(days)), Some(days));
        }
    }

    #[test]
    fn days_and_dates() {
        for (days, date) in [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (20_818, "2026-12-31"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!((days_of(date), date_of(days)), (Some(days), date.to_owned()));
        }
        for wrong in
            ["2026-02-29", "2026-13-01", "2026-1-1", "1969-12-31", "2026-12-31-1", "+026-01-01", ""]
        {
            assert_eq!(days_of(wrong), None, "{wrong}");
        }
    }
}
