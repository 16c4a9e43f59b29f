//! The API as its clients see it: requests in, statuses and JSON out.

mod beside;
mod commands;
mod device_api;
mod devices;
mod documents;
mod lists;
mod login;
mod numbers;
mod packages;
mod people;
mod points;
mod rates;
mod rights;
mod tenants;
mod world;
