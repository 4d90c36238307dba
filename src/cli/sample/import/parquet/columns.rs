//! Which columns of a Parquet file are read, and what their values are in JSON.

use parquet::{
    basic::{Compression, ConvertedType, LogicalType, Repetition, Type as Physical},
    record::Field,
    schema::types::Type,
};
use serde_json::Value;

/// Whether a column is read: texts, lists of texts, numbers, and times. What records of this kind have no use for, such as pictures and records
/// within records, is only known to be there.
pub(super) fn is_read(field: &Type) -> bool {
    if field.is_primitive() {
        return !is_repeated(field) && is_plain(field);
    }
    let [entries] = field.get_fields() else { return false };
    let is_list = field.get_basic_info().converted_type() == ConvertedType::LIST;
    if !is_list || is_repeated(field) || !is_repeated(entries) || entries.is_primitive() {
        return false;
    }
    // By these names older writers said that a group is an entry itself, and not what stands around one.
    let is_old = entries.name() == "array" || entries.name() == format!("{}_tuple", field.name());
    let is_entry = |entry: &Type| entry.is_primitive() && !is_repeated(entry) && (is_text(entry) || is_nothing(entry));
    !is_old && matches!(entries.get_fields(), [entry] if is_entry(entry))
}

/// What writers say of entries where each list is empty, because nothing has told them what an entry is.
fn is_nothing(field: &Type) -> bool {
    matches!(field.get_basic_info().logical_type_ref(), Some(LogicalType::Unknown))
}

/// Whether what is packed so can be read.
pub(super) fn is_unpacked(compression: Compression) -> bool {
    matches!(compression, Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::GZIP(_) | Compression::ZSTD(_))
}

fn is_repeated(field: &Type) -> bool {
    let about = field.get_basic_info();
    about.has_repetition() && about.repetition() == Repetition::REPEATED
}

fn is_plain(field: &Type) -> bool {
    let kind = field.get_basic_info().converted_type();
    match field.get_physical_type() {
        Physical::BYTE_ARRAY => is_text(field),
        Physical::INT32 | Physical::INT64 => {
            !matches!(kind, ConvertedType::DECIMAL | ConvertedType::TIME_MILLIS | ConvertedType::TIME_MICROS)
        }
        Physical::BOOLEAN | Physical::FLOAT | Physical::DOUBLE => true,
        Physical::INT96 | Physical::FIXED_LEN_BYTE_ARRAY => false,
    }
}

/// Some writers do not say of text that it is text.
fn is_text(field: &Type) -> bool {
    let kind = field.get_basic_info().converted_type();
    let may_be = matches!(kind, ConvertedType::NONE | ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON);
    may_be && field.get_physical_type() == Physical::BYTE_ARRAY
}

/// As JSON has it.
pub(super) fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(is) => (*is).into(),
        Field::Byte(number) => (*number).into(),
        Field::Short(number) => (*number).into(),
        Field::Int(number) => (*number).into(),
        Field::Long(number) => (*number).into(),
        Field::UByte(number) => (*number).into(),
        Field::UShort(number) => (*number).into(),
        Field::UInt(number) => (*number).into(),
        Field::ULong(number) => (*number).into(),
        // What is no number in JSON is null.
        Field::Float(number) => (*number).into(),
        Field::Double(number) => (*number).into(),
        Field::Str(text) => text.as_str().into(),
        // No text after all.
        Field::Bytes(bytes) => String::from_utf8(bytes.data().to_vec()).map_or(Value::Bool(true), Value::String),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        other => other.to_string().into(),
    }
}
