#!/bin/bash
files=(/etc/*.conf)
echo "${#files[@]}" {{ x }} {% if y %}
