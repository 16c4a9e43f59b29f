//! Pages of lists.
//!
//! Invariants:
//! - A page has at most [`PAGE_ITEMS_MAX`] items; whoever wants more gets so many, and the rest on the pages behind.
//! - Without a wish the order is that of ids, so that pages do not overlap.
//!
//! Source: section 13.1 of the vectors.

use serde_json::{Value, json};

use super::asked::Asked;
use super::refusal::Refusal;

/// Items of a page.
const PAGE_ITEMS_MAX: usize = 10_000;

/// The parameters of a page.
pub(super) const PAGE: &[&str] = &["pageSize", "page", "textSearch", "sortProperty", "sortOrder"];

/// Which page is wanted.
pub(super) struct Page {
    size: usize,
    number: usize,
    /// What must be found in a name, in lower case.
    text: Option<String>,
    pub sort: Option<String>,
    is_descending: bool,
}

/// By what items are ordered.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Rank {
    None,
    Time(i64),
    Text(Box<str>),
}

impl Page {
    /// Reads the parameters.
    pub fn read(asked: &Asked) -> Result<Self, Refusal> {
        asked.needed("pageSize")?;
        asked.needed("page")?;
        let size: usize = asked.number("pageSize")?.unwrap_or_default();
        if size == 0 {
            return Err(Refusal::bad(
                "Incorrect page link page size '0'. Page size must be greater than zero.",
            ));
        }
        Ok(Self {
            size: size.min(PAGE_ITEMS_MAX),
            number: asked.number("page")?.unwrap_or_default(),
            text: asked.get("textSearch").map(str::to_lowercase),
            sort: asked.get("sortProperty").map(str::to_owned),
            is_descending: asked.get("sortOrder").is_some_and(|order| order.eq_ignore_ascii_case("DESC")),
        })
    }

    /// Whether something is found by one of its names.
    pub fn finds(&self, names: &[&str]) -> bool {
        let found = |text: &String| names.iter().any(|name| name.to_lowercase().contains(text.as_str()));
        self.text.as_ref().is_none_or(found)
    }

    /// Orders what was found and cuts the page out.
    pub fn cut<T: Ord>(&self, mut found: Vec<(Rank, T)>) -> Cut<T> {
        found.sort_unstable();
        if self.is_descending {
            found.reverse();
        }
        let total = found.len();
        let items = found.into_iter().skip(self.number.saturating_mul(self.size)).take(self.size);
        Cut { items: items.map(|(_, item)| item).collect(), total }
    }

    /// The page as it is answered.
    pub fn answer(&self, items: Vec<Value>, total: usize) -> Value {
        let pages = total.div_ceil(self.size);
        json!({
            "data": items,
            "totalPages": pages,
            "totalElements": total,
            "hasNext": self.number.saturating_add(1) < pages,
        })
    }

    /// A page of something of which there is little, by name and time.
    pub fn of_few(&self, found: Vec<Few>) -> Result<Value, Refusal> {
        let mut ranked = Vec::with_capacity(found.len());
        for few in found.into_iter().filter(|few| self.finds(&[&few.name])) {
            let rank = match self.sort.as_deref() {
                None => Rank::None,
                Some("createdTime") => Rank::Time(few.created_ms),
                Some("name" | "title" | "email") => Rank::Text(few.name.as_str().into()),
                Some(other) => rank(&few.json, other)?,
            };
            ranked.push((rank, few));
        }
        let Cut { items, total } = self.cut(ranked);
        Ok(self.answer(items.into_iter().map(|few| few.json).collect(), total))
    }
}

/// Something's rank by a member that is shown of it; what is none has the first.
pub(super) fn rank(shown: &Value, member: &str) -> Result<Rank, Refusal> {
    // The column has another name than the member.
    let member = if member == "isDefault" { "default" } else { member };
    Ok(match shown.get(member) {
        Some(Value::String(text)) => Rank::Text(text.as_str().into()),
        Some(Value::Bool(is)) => Rank::Time(i64::from(*is)),
        Some(Value::Number(number)) => number.as_i64().map_or(Rank::None, Rank::Time),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) => Rank::None,
        None => return Err(unsorted(member)),
    })
}

/// A part of what was found.
pub(super) struct Cut<T> {
    pub items: Vec<T>,
    /// How many were found in all.
    pub total: usize,
}

/// One of few.
pub(super) struct Few {
    pub id: [u8; 16],
    pub name: String,
    pub created_ms: i64,
    pub json: Value,
}

/// There is no order of that name.
pub(super) fn unsorted(property: &str) -> Refusal {
    Refusal::bad(format!("Cannot sort by '{property}'"))
}

impl PartialEq for Few {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Few {}

impl PartialOrd for Few {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Few {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.id.cmp(&other.id)
    }
}
