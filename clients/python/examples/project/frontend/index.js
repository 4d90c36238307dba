const shout = require("shout");

module.exports = () => shout("hello");
