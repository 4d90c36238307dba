"use strict";

/** The names and values of a query such as `a=1&b=2`. */
function parse(query) {
  const result = {};
  for (const part of query.replace(/^\?/, "").split("&")) {
    if (part === "") continue;
    const [name, value] = part.split("=");
    result[decodeURIComponent(name)] = decodeURIComponent(value);
  }
  return result;
}

module.exports = { parse };
