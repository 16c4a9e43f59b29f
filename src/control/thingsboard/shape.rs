//! How things look as JSON: ids with their kind, times, pages.
//!
//! Invariants:
//! - An id is `{"entityType":..,"id":..}`; what has no owner has the null id.
//!
//! Source: sections 13.1 and 13.2 of the vectors.

use std::fmt::Display;

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use device::{Authority, CustomerId, TenantId, User};
use serde_json::{Value, json};

use super::beside;
use super::refusal::Refusal;

/// The id of nothing.
pub(super) const NULL_ID: &str = "13814000-1dd2-11b2-8080-808080808080";

/// What a handler returns.
pub(super) type Answer = Result<Response, Refusal>;

/// A JSON answer.
pub(super) fn json_answer(value: Value) -> Answer {
    Ok(Json(value).into_response())
}

/// An answer that is JSON text already.
pub(super) fn text_answer(json: String) -> Answer {
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

/// An answer without a body.
pub(super) fn empty_answer() -> Answer {
    Ok(().into_response())
}

/// An id with its kind.
pub(super) fn entity(kind: &str, id: impl Display) -> Value {
    json!({"entityType": kind, "id": id.to_string()})
}

/// An id with its kind, or null.
pub(super) fn entity_or_null(kind: &str, id: Option<impl Display>) -> Value {
    id.map_or(Value::Null, |id| entity(kind, id))
}

/// Whose something is.
pub(super) fn tenant_entity(tenant: Option<TenantId>) -> Value {
    tenant.map_or_else(|| entity("TENANT", NULL_ID), |tenant| entity("TENANT", tenant))
}

/// Which customer something belongs to.
pub(super) fn customer_entity(customer: Option<CustomerId>) -> Value {
    customer.map_or_else(|| entity("CUSTOMER", NULL_ID), |customer| entity("CUSTOMER", customer))
}

/// The name of an authority.
pub(super) const fn authority_name(authority: Authority) -> &'static str {
    match authority {
        Authority::SystemAdmin => "SYS_ADMIN",
        Authority::TenantAdmin => "TENANT_ADMIN",
        Authority::CustomerUser => "CUSTOMER_USER",
    }
}

/// The authority of a name.
pub(super) fn authority_named(name: &str) -> Option<Authority> {
    let all = [Authority::SystemAdmin, Authority::TenantAdmin, Authority::CustomerUser];
    all.into_iter().find(|authority| authority_name(*authority) == name)
}

/// Members of a user that mean nothing here.
pub(super) const OF_USER: [&str; 4] = ["firstName", "lastName", "phone", "additionalInfo"];
/// What `additionalInfo` of a user says and does not keep.
pub(super) const HAS_PASSWORD: &str = "userCredentialsEnabled";

/// Somebody who may log in.
pub(super) fn user_json(user: &User) -> Value {
    let mut json = json!({
        "id": entity("USER", user.id),
        "createdTime": user.created_ms,
        "tenantId": tenant_entity(user.tenant),
        "customerId": customer_entity(user.customer),
        "email": user.name,
        "name": user.name,
        "authority": authority_name(user.authority),
        "version": user.margin.version(),
    });
    beside::show(&mut json, &OF_USER, user.margin.additional.as_deref());
    if !json["additionalInfo"].is_object() {
        json["additionalInfo"] = json!({});
    }
    json["additionalInfo"][HAS_PASSWORD] = json!(!user.password_hash.is_empty());
    json
}
