//! The behaviour of Sandshell through its public interfaces, against real servers and real sandboxes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, unreachable_pub)]

mod kit;

mod a_busy_session_queues;
mod a_cut_stream_continues;
mod a_fresh_session_shows_nothing_of_ours;
mod a_killed_server_loses_nothing;
mod a_retried_start_is_the_same_command;
mod a_session_is_a_script_in_pieces;
mod a_session_lasts;
mod a_session_survives_exit;
mod a_shell_by_hand;
mod a_slow_reader_stalls_nobody;
mod a_stopped_server_leaves_nothing;
mod a_terminal_when_asked;
mod a_time_out_ends_only_the_command;
mod an_ordinary_user_can_serve;
mod any_text_is_a_command;
mod background_output_stays_with_its_command;
mod bad_requests_name_every_mistake;
mod bytes_arrive_unchanged;
mod closing_a_session_ends_what_it_started;
mod direct_execution_keeps_nothing;
mod every_answer_has_a_request_id;
mod every_method_answers;
mod exit_codes_are_the_shells_own;
mod input_reaches_the_command;
mod isolation_holds;
mod limits_and_isolation_hold_on_cgroup_v2;
mod limits_hold;
mod many_sessions_mix_nothing;
mod mistakes_keep_state;
mod python_clients_work;
mod rude_clients_harm_nobody;
mod sandboxes_are_released_in_time;
mod sandboxes_come_and_go;
mod serve_refuses_what_is_unsafe;
mod sessions_come_and_go;
mod signals_reach_the_foreground;
mod state_carries_over;
mod the_command_line_carries_state;
mod the_rooms_import_in_one_direction;
mod unknown_ids_are_not_found;
