//! JSON numbers, exactly: a condition on an amount must not be decided by rounding.

/// How many digits are looked at: more than any value that fits has, when it is written without needless zeros.
const MAX_DIGITS: usize = 64;

/// A JSON number as `sign`, digits, and how many of them stand after the point; without needless zeros.
struct Digits {
    negative: bool,
    digits: Vec<u8>,
    scale: usize,
}

/// A whole number of 64 bits: `100`, `1e2` and `100.0` are one.
pub(crate) fn whole(json: &str) -> Option<i64> {
    let number = read(json)?;
    if number.scale > 0 {
        return None;
    }
    text(&number).parse().ok()
}

/// A number with at most four decimal places, as Cedar writes it.
pub(crate) fn decimal(json: &str) -> Option<String> {
    let mut number = read(json)?;
    if number.scale > 4 {
        return None;
    }
    if number.scale == 0 {
        number.digits.push(b'0');
        number.scale = 1;
    }
    let text = text(&number);
    // Four places of 64 bits: what does not fit is refused here, since Cedar would fail on it later.
    let units = text.replace('.', "");
    let places = u32::try_from(4_usize.checked_sub(number.scale)?).ok()?;
    units.parse::<i64>().ok()?.checked_mul(10_i64.checked_pow(places)?)?;
    Some(text)
}

fn read(json: &str) -> Option<Digits> {
    let (negative, rest) = match json.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, json),
    };
    if !rest.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    let mut scale = i64::try_from(fraction.len()).ok()?.checked_sub(i64::from(exponent))?;
    while scale > 0 && digits.last() == Some(&b'0') {
        digits.pop();
        scale = scale.checked_sub(1)?;
    }
    if digits.iter().all(|digit| *digit == b'0') {
        return Some(Digits { negative: false, digits: vec![b'0'], scale: 0 });
    }
    let leading = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.drain(..leading);
    if digits.len() > MAX_DIGITS || scale.unsigned_abs() > 64 {
        return None;
    }
    while scale < 0 {
        digits.push(b'0');
        scale = scale.checked_add(1)?;
    }
    Some(Digits { negative, digits, scale: usize::try_from(scale).ok()? })
}

fn text(number: &Digits) -> String {
    let mut out = String::with_capacity(number.digits.len().saturating_add(4));
    if number.negative {
        out.push('-');
    }
    let missing = (number.scale.saturating_add(1)).saturating_sub(number.digits.len());
    let point = number.digits.len().saturating_add(missing).saturating_sub(number.scale);
    let digits = std::iter::repeat_n(b'0', missing).chain(number.digits.iter().copied());
    for (at, digit) in digits.enumerate() {
        if at == point {
            out.push('.');
        }
        out.push(char::from(digit));
    }
    out
}

#[cfg(test)]
mod tests;
