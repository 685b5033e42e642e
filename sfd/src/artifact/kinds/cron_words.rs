//! The five fields of a crontab(5) line in words.

const MONTHS: [(&str, &str); 12] = [
    ("jan", "January"),
    ("feb", "February"),
    ("mar", "March"),
    ("apr", "April"),
    ("may", "May"),
    ("jun", "June"),
    ("jul", "July"),
    ("aug", "August"),
    ("sep", "September"),
    ("oct", "October"),
    ("nov", "November"),
    ("dec", "December"),
];
/// 0 and 7 are Sunday.
const DAYS: [(&str, &str); 8] = [
    ("sun", "Sunday"),
    ("mon", "Monday"),
    ("tue", "Tuesday"),
    ("wed", "Wednesday"),
    ("thu", "Thursday"),
    ("fri", "Friday"),
    ("sat", "Saturday"),
    ("sun", "Sunday"),
];
/// More moments of a day than this are said as minutes and hours.
const MOMENTS_MAX: usize = 4;

/// Minute, hour, day of the month, month and day of the week, such as `every day at 06:25`.
pub(super) fn schedule(fields: [&str; 5]) -> String {
    let [minute, hour, day, month, weekday] = fields;
    let (time, fixed) = time(minute, hour);
    let mut words = match (day, weekday) {
        ("*", "*") if fixed && month == "*" => format!("every day {time}"),
        ("*", "*") => time,
        ("*", _) => format!("{time} on {}", named(weekday, &DAYS, 0)),
        (_, "*") => format!("{time} on day {} of the month", span(day)),
        // crontab(5): with both restricted, either is enough.
        _ => format!("{time} on day {} of the month or on {}", span(day), named(weekday, &DAYS, 0)),
    };
    if month != "*" {
        words = format!("{words} in {}", named(month, &MONTHS, 1));
    }
    words
}

/// When in a day, and whether that is a few fixed moments.
fn time(minute: &str, hour: &str) -> (String, bool) {
    let steps = |field: &str| field.strip_prefix("*/").and_then(number);
    let moments = numbers(minute).zip(numbers(hour)).filter(|(m, h)| m.len() * h.len() <= MOMENTS_MAX);
    if let Some((minutes, hours)) = moments {
        let each = hours.iter().flat_map(|h| minutes.iter().map(move |m| format!("{h:02}:{m:02}")));
        return (format!("at {}", each.collect::<Vec<_>>().join(" and ")), true);
    }
    let words = match (minute, hour, steps(minute), steps(hour)) {
        ("*", "*", ..) => "every minute".to_owned(),
        (_, "*", Some(n), _) => format!("every {n} minutes"),
        (_, "*", ..) => format!("every hour at minute {}", span(minute)),
        (.., Some(n), Some(h)) => format!("every {n} minutes of every {h} hours"),
        (_, _, None, Some(h)) if minute != "*" => format!("every {h} hours at minute {}", span(minute)),
        (_, _, Some(n), None) => format!("every {n} minutes of hour {}", span(hour)),
        ("*", ..) => format!("every minute of hour {}", span(hour)),
        _ => format!("at minute {} of hour {}", span(minute), span(hour)),
    };
    (words, false)
}

fn number(text: &str) -> Option<u8> {
    (text.len() <= 2).then(|| text.parse().ok()).flatten()
}

/// A list of nothing but numbers.
fn numbers(field: &str) -> Option<Vec<u8>> {
    field.split(',').map(number).collect()
}

/// `1-5` is `1 to 5`, `1,3` is `1 and 3`.
fn span(field: &str) -> String {
    field.replace('-', " to ").replace(',', " and ")
}

/// The same with names for numbers and for short names.
fn named(field: &str, names: &[(&str, &str)], first: u8) -> String {
    let name = |word: &str| {
        let at = match number(word) {
            Some(n) => n.checked_sub(first).map(usize::from),
            None => names.iter().position(|(short, _)| word.eq_ignore_ascii_case(short)),
        };
        at.and_then(|at| names.get(at)).map_or_else(|| word.to_owned(), |(_, long)| (*long).to_owned())
    };
    let part = |part: &str| match part.split_once('-') {
        Some((from, to)) => format!("{} to {}", name(from), name(to)),
        None => name(part),
    };
    field.split(',').map(part).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn in_words() {
        for (line, want) in [
            ("* * * * *", "every minute"),
            ("*/5 * * * *", "every 5 minutes"),
            ("17 * * * *", "every hour at minute 17"),
            ("25 6 * * *", "every day at 06:25"),
            ("0 6,18 * * *", "every day at 06:00 and 18:00"),
            ("47 6 * * 7", "at 06:47 on Sunday"),
            ("0 9 * * 1-5", "at 09:00 on Monday to Friday"),
            ("0 9 * * mon,Wed", "at 09:00 on Monday and Wednesday"),
            ("52 6 1 * *", "at 06:52 on day 1 of the month"),
            ("0 0 1,15 * 5", "at 00:00 on day 1 and 15 of the month or on Friday"),
            ("0 0 1 1 *", "at 00:00 on day 1 of the month in January"),
            ("30 */2 * * *", "every 2 hours at minute 30"),
            ("*/10 8-17 * * *", "every 10 minutes of hour 8 to 17"),
            ("*/10 */2 * * *", "every 10 minutes of every 2 hours"),
            ("* 3 * * *", "every minute of hour 3"),
            ("0 0-23/2 * * *", "at minute 0 of hour 0 to 23/2"),
            ("0 0 * 13 9", "at 00:00 on 9 in 13"),
        ] {
            let fields: Vec<&str> = line.split(' ').collect();
            assert_eq!(super::schedule(fields.try_into().unwrap()), want, "{line}");
        }
    }
}
